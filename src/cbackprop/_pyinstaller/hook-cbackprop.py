"""What PyInstaller cannot find in the sources: modules chosen by name, and files that are read.

Every SIMD level is taken along, as the program may run on another machine than it was made on.
"""

import os
from pkgutil import iter_modules

from cbackprop import kernels

hiddenimports = [f"{kernels.__name__}.{module.name}" for module in iter_modules(kernels.__path__)]
datas = [
    (os.path.join(os.path.dirname(kernels.__path__[0]), folder), f"cbackprop/{folder}")
    for folder in ("data", "step_page")
]
