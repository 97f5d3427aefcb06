"""``python -m tests.build NAME ...``; without a name it lists them."""

import importlib
import pkgutil
import sys

import tests.build

files = [module.name for module in pkgutil.iter_modules(tests.build.__path__)]
modules = {
    name: importlib.import_module(f"tests.build.{name}") for name in files if name[:2] != "__"
}
commands = {name: module for name, module in modules.items() if hasattr(module, "build")}
for name in sys.argv[1:]:
    if name not in commands:
        sys.exit(f"no command {name!r}; there are: {', '.join(commands)}")
    commands[name].build()
if not sys.argv[1:]:
    for name, module in commands.items():
        print(f"{name:12} {(module.__doc__ or '').splitlines()[0]}")
