"""A bundle is opened, checked and asked on a machine without torch."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "tqdm", "sklearn"):
            raise AssertionError(f"{name} was imported")

sys.meta_path.insert(0, NoTorch())

from unlearnkit import Bundle

bundle = Bundle.open(sys.argv[1])
sketch = bundle.probe("margins")
prediction = sketch.predict(["ann", "ben"])
sketch.predict([bundle.units[0]], unbiased=True)
sketch.curve(["ann"])
sketch.influences()
bundle.model_state()
list(bundle.weight_sketches())
print(prediction.explanation)
assert "torch" not in sys.modules
"""


def test_opening_and_predicting_never_imports_torch(path):
    result = subprocess.run([sys.executable, "-c", SCRIPT, str(path)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "Degree 1 (exact, by projection): used." in result.stdout
