"""The suffixes, in lower case, by which the package tells pictures and videos from other files.

A GIF is a video; without pictures of its own kind beside it nobody means its first frame.
"""

PICTURE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"}
)
# Pictures that are not read, so that whoever has a folder of them is told.
UNREAD_PICTURE_SUFFIXES = frozenset(
    {".gif", ".svg", ".avif", ".heic", ".heif", ".jp2", ".j2k", ".jxl", ".tga", ".ico"}
)
VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".qt", ".avi", ".divx", ".mkv", ".webm", ".gif", ".mpg", ".mpeg", ".mpe", ".m2v"}
    | {".ts", ".mts", ".m2ts", ".vob", ".wmv", ".asf", ".flv", ".f4v", ".ogv", ".3gp", ".3g2"}
)
