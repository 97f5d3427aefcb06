"""``python -m tests.build NAME``; without a name it lists them."""

import importlib
import pkgutil
import sys

import tests.build

names = [
    module.name
    for module in pkgutil.iter_modules(tests.build.__path__)
    if module.name != "__main__"
]
for name in sys.argv[1:]:
    if name not in names:
        sys.exit(f"no command {name!r}; there are: {', '.join(names)}")
    importlib.import_module(f"tests.build.{name}").build()
if not sys.argv[1:]:
    for name in names:
        module = importlib.import_module(f"tests.build.{name}")
        if hasattr(module, "build"):
            print(f"{name:12} {(module.__doc__ or '').splitlines()[0]}")
