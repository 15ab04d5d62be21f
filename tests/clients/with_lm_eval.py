"""lm-eval's `local-completions` against a server: likelihoods of choices and texts to a stop. URL is the argument."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
import lm_eval
from lm_eval.tasks import TaskManager

DOCS = [{"question": f"{a}+{b}=", "choices": [str(a + b), str(a + b + 30)]} for a in (2, 13, 40) for b in (5, 21)]
COMMON = """
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: {kind}
doc_to_text: "{{{{question}}}}"
"""
CHOICE = (
    COMMON
    + """
task: choice
doc_to_choice: "{{{{choices}}}}"
doc_to_target: 0
metric_list: [{{metric: acc}}]
"""
)
WRITE = (
    COMMON
    + """
task: write
doc_to_target: "{{{{choices[0]}}}}"
generation_kwargs: {{until: ["\\n"], max_gen_toks: 16}}
metric_list: [{{metric: exact_match}}]
"""
)


def main(url: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "docs.json")
        file.write_text(json.dumps(DOCS))
        for name, text, kind in (("choice", CHOICE, "multiple_choice"), ("write", WRITE, "generate_until")):
            Path(folder, f"{name}.yaml").write_text(text.format(file=file, kind=kind))
        model = f"model=nano-ar,base_url={url}/v1/completions,tokenizer_backend=remote,max_length=512,num_concurrent=2"
        found: Any = lm_eval.simple_evaluate(
            model="local-completions",
            model_args=model,
            tasks=["choice", "write"],
            task_manager=TaskManager(include_path=folder, include_defaults=False),
            batch_size=2,
            bootstrap_iters=0,
        )
    samples = found["samples"]
    assert len(samples["choice"]) == len(samples["write"]) == len(DOCS)
    for sample in samples["choice"]:
        likelihoods = [answer[0][0] for answer in sample["resps"]]
        assert len(likelihoods) == 2 and all(-200 < value <= 0 for value in likelihoods), likelihoods
    assert all("\n" not in sample["resps"][0][0] for sample in samples["write"])
    print(found["results"])


if __name__ == "__main__":
    main(sys.argv[1])
