"""Opens checkpoints in a process of its own, saves them again and tells what happened; run by `test_code_export.py`.

    python -I open_checkpoints.py package|remote JOBS.json RESULTS.json

`package`: after `import hf_vidmodels`. `remote`: with `trust_remote_code=True` where hf_vidmodels cannot be imported.
"""

import importlib.abc
import json
import sys
from pathlib import Path


class Blocker(importlib.abc.MetaPathFinder):
    """Makes the installed package invisible."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "hf_vidmodels":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


def open_model(job, flags):
    import torch
    from transformers import AutoConfig, AutoModel

    batch = torch.load(job["batch"], weights_only=True)
    expected = torch.load(job["expected"], weights_only=True)
    found = []
    for folder in (job["folder"], job["again"] + "/model"):
        model = AutoModel.from_pretrained(folder, **flags).eval()
        with torch.no_grad():
            logits = model(**batch).logits
        found.append({"module": type(model).__module__, "equal": torch.equal(logits, expected)})
        if folder == job["folder"]:
            model.save_pretrained(job["again"] + "/model")
            AutoConfig.from_pretrained(folder, **flags).save_pretrained(job["again"] + "/config")
    return found


def open_processor(job, flags):
    import numpy as np
    import transformers

    source = np.load(job["input"])
    expected = np.load(job["expected"])
    found = []
    for auto_class in (getattr(transformers, job["auto_class"]), transformers.AutoProcessor):
        for folder in (job["folder"], job["again"]):
            processor = auto_class.from_pretrained(folder, **flags)
            output = processor(source, return_tensors="np")[job["output"]]
            equal = output.dtype == expected.dtype and np.array_equal(output, expected)
            found.append({"module": type(processor).__module__, "equal": bool(equal)})
            if folder == job["folder"]:
                processor.save_pretrained(job["again"])
    return found


def main(way, jobs_path, results_path):
    if way == "remote":
        sys.meta_path.insert(0, Blocker())
    else:
        import hf_vidmodels  # noqa: F401
    import torch

    torch.set_num_threads(1)
    flags = {"trust_remote_code": True} if way == "remote" else {}
    openers = {"model": open_model, "processor": open_processor}
    results = [openers[job["kind"]](job, flags) for job in json.loads(Path(jobs_path).read_text())]
    Path(results_path).write_text(json.dumps(results))


if __name__ == "__main__":
    main(*sys.argv[1:])
