"""What is wrong with a gradient of somebody's own: `Network.diagnose_gradient`."""

from cbackprop.gradient_diagnosis.diagnosis import diagnose_gradient as diagnose_gradient
from cbackprop.gradient_diagnosis.result import GradientDiagnosis as GradientDiagnosis
