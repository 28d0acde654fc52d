"""The only place that raises about what the user passed.

Each function takes an argument's name and value and returns the value in the form the engines
want, or raises TypeError or ValueError with a message that begins with the name, shows what came
and says what was expected. Nothing is changed before everything has been looked at.

Callers write `validation.integer`, in whichever of these files it stands.
"""

from cbackprop.validation.arrays import *  # noqa: F403 - the list would be all of it
from cbackprop.validation.fitting import *  # noqa: F403 - the list would be all of it
from cbackprop.validation.keywords import *  # noqa: F403 - the list would be all of it
from cbackprop.validation.looking import *  # noqa: F403 - the list would be all of it
from cbackprop.validation.names import *  # noqa: F403 - the list would be all of it
from cbackprop.validation.network import *  # noqa: F403 - the list would be all of it
from cbackprop.validation.scalars import *  # noqa: F403 - the list would be all of it
from cbackprop.validation.streams import *  # noqa: F403 - the list would be all of it
