"""A body that is too much for the process that tries it first: model.onnx runs, and what happened is told."""

import re

import pytest

import edgeosr
from edgeosr.errors import BundleError, InferenceError
from edgeosr.runtime import openvino_module, trial
from edgeosr.runtime.trial_child import __name__ as CHILD

READY = "import os, signal, sys\nprint('{\"ready\": true}', flush=True)\n"
# The first graph that is tried is the body's; model.onnx, the next one, is tried as ever.
ENDINGS = {
    "crashes": "os.abort()",
    "slow": "os.kill(os.getpid(), signal.SIGALRM)",
}
SAID = {
    "crashes": r"body\.onnx crashed the process that tried it first \(by SIGABRT\), while openvino 20",
    "slow": r"body\.onnx was not loaded and judged in time in a process of its own.* s for openvino 20",
}


@pytest.fixture
def tried_by(body_bundle, tmp_path, monkeypatch):
    """Lets openvino's graphs, or all of them, be tried by a process that ends in a certain way."""
    body_bundle()
    monkeypatch.setenv("EDGEOSR_CACHE", str(tmp_path / "cache-of-another"))  # where it was not made
    monkeypatch.setattr(openvino_module, "why_not", lambda precision, core: "")
    genuine = trial._try

    def let(ending, of="openvino"):
        (tmp_path / f"{ending}_child.py").write_text(READY + ENDINGS[ending])
        monkeypatch.syspath_prepend(tmp_path)

        def tried(path, asked, graphs, by):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(trial, "_MODULE", f"{ending}_child" if of in by else CHILD)
                genuine(path, asked, graphs, by)

        monkeypatch.setattr(trial, "_try", tried)

    return let


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("backend", ["auto", "native"])
def test_model_onnx_runs_where_the_body_does_not_survive_its_trial_and_why_is_told(
    as_python_opens_it, body_bundle, tried_by, backend, ending
):
    tried_by(ending)
    with edgeosr.Runtime(body_bundle().path, backend=backend, threads=1) as runtime:
        assert runtime.graph == "model.onnx" and re.search(SAID[ending], runtime.why)
        assert runtime.threshold == body_bundle().manifest.threshold.value


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_back_end_that_is_named_refuses_with_the_body_named_and_the_way_out(body_bundle, tried_by, ending):
    tried_by(ending)
    with pytest.raises(InferenceError, match=SAID[ending]) as caught:
        edgeosr.Runtime(body_bundle().path, backend="openvino", threads=1)
    assert "do not open it" not in str(caught.value)
    words = (
        "model.onnx, which is tried by itself, runs without it: edgeosr.Runtime(..., backend='onnxruntime')"
    )
    assert str(caught.value).endswith(words)


@pytest.mark.parametrize("backend", ["auto", "native"])
def test_a_bundle_whose_model_onnx_crashes_too_is_refused(as_python_opens_it, body_bundle, tried_by, backend):
    tried_by("crashes", of="")
    with pytest.raises(BundleError, match=r"model\.onnx crashed the process.*while onnxruntime"):
        edgeosr.Runtime(body_bundle().path, backend=backend, threads=1)
