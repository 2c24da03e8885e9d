"""One folder for the modules that `evaluate.load` copies, because Python remembers where it imported them from."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def modules_of_evaluate(tmp_path_factory):
    from evaluate import loading

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading.config, "HF_MODULES_CACHE", tmp_path_factory.mktemp("evaluate") / "modules")
        yield
