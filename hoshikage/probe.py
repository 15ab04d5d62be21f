"""`python -m hoshikage.probe`: the GPUs of this machine as a line of JSON, from a process that ends with its answer.

Whoever asks a GPU's driver keeps some of its memory for as long as the process lives; a server asks through this one.
"""

from __future__ import annotations

import json


def main() -> None:
    """Print them."""
    import hoshikage._log  # noqa: F401 -- keeps off standard error what the devices' libraries say
    from hoshikage._devices import gpus

    print(json.dumps({"gpus": gpus()}))


if __name__ == "__main__":
    main()
