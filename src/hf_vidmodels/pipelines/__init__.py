"""transformers pipelines for the tasks that have none.

transformers' own come first: ours are entered in their table right after it is loaded.
"""

import transformers.pipelines  # noqa: F401
