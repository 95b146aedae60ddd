"""Says whether llm-compressor accepts versions of torch.

    python check_torch.py VERSION...

The program runs in the environment of llm-compressor, and prints one JSON object: "peer" is the name and version of llm-compressor,
"requirement" is its requirement for torch, and "accepted" lists the versions that meet it.
"""

import importlib.metadata
import json
import sys

from packaging.requirements import Requirement

NAME = "llmcompressor"


def main() -> None:
    requirements = [Requirement(text) for text in importlib.metadata.requires(NAME) or []]
    torch = next(requirement for requirement in requirements if requirement.name == "torch" and not requirement.marker)
    accepted = [version for version in sys.argv[1:] if torch.specifier.contains(version, prereleases=True)]
    peer = f"{NAME} {importlib.metadata.version(NAME)}"
    print(json.dumps({"peer": peer, "requirement": str(torch), "accepted": accepted}))


if __name__ == "__main__":
    main()
