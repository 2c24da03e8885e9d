"""Instance masks and boxes of pictures, in the forms of COCO, Pascal VOC and YouTube-VIS."""
