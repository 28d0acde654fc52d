"""Other people's words for what we know by one: imported where a message is made."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# The words of Keras, PyTorch, scikit-learn, MATLAB and the literature, in lower case without the
# marks between: activations, costs, initialisations, optimisers, metrics, then keyword arguments.
# Which of several (mse is a cost and a metric) can be meant, the place says that takes the word.
OTHER_WORDS = {
    "sigmoid": "logistic logisticsigmoid logsig logsigmoid expit",
    "tanh": "tansig hyperbolictangent",
    "relu": "rectifier rectified rectifiedlinear rectifiedlinearunit poslin",
    "leaky_relu": "lrelu leakyrectifier prelu",
    "elu": "exponentiallinear exponentiallinearunit",
    "selu": "scaledelu scaledexponentiallinearunit",
    "gelu": "gaussianerrorlinearunit",
    "silu": "swish sigmoidlinearunit",
    "softplus": "smoothrelu",
    "exponential": "exp",
    "identity": "purelin passthrough",
    "softmax": "logsoftmax softargmax",
    "quadratic": "sse sumsquarederror sumofsquarederrors sumofsquares leastsquares",
    "mse": "meansquarederror mseloss squarederror squaredloss l2loss",
    "cross_entropy": (
        "ce bce xent logloss logisticloss nll nllloss negativeloglikelihood bceloss bcewithlogits "
        "bcewithlogitsloss crossentropyloss binarycrossentropy binarycrossentropywithlogits "
        "categoricalcrossentropy sparsecategoricalcrossentropy softmaxcrossentropy deviance"
    ),
    "mae": "meanabsoluteerror maeloss absoluteerror absoluteloss l1loss",
    "huber": "huberloss smoothl1 smoothl1loss",
    "poisson": "poissonloss poissonnll poissonnllloss poissondeviance",
    "glorot": "xavier glorotuniform glorotnormal xavieruniform xaviernormal",
    "he": "kaiming heuniform henormal kaiminguniform kaimingnormal",
    "lecun": "lecunnormal lecununiform",
    "standard_normal": "normal gaussian randn randomnormal",
    "zeros": "zero",
    "sgd": "gd gradientdescent stochasticgradientdescent momentum nesterov traingd traingdm",
    "rprop": "irprop resilient resilientbackpropagation trainrp",
    "lbfgs": "bfgs lbfgsb fminlbfgsb limitedmemorybfgs",
    "levenberg_marquardt": "lm marquardt trainlm",
    "accuracy": "acc accuracyscore binaryaccuracy categoricalaccuracy",
    "r2": "r2score rsquared rsquare coefficientofdetermination",
    "compiled": "c cython cpu",
    "reference": "numpy python",
    # Keyword arguments
    "sizes": (
        "layers layersizes layerdims hiddenlayersizes hiddensizes hiddenlayers hiddenunits units "
        "architecture topology"
    ),
    "hidden": "layers hiddenlayersizes hiddensizes hiddenlayers hiddenunits units",
    "activation": "activations activationfunction nonlinearity transferfunction",
    "cost": "loss lossfunction lossfn criterion objective costfunction",
    "init": "initializer initialiser initialization kernelinitializer weightinitializer",
    "seed": "randomstate randomseed rng manualseed",
    "threads": "njobs nthreads numthreads workers",
    "backend": "device engine",
    "epochs": "nepochs numepochs nbepoch maxiter niter iterations maxepochs",
    "batch_size": "minibatch minibatchsize",
    "optimizer": "optimiser solver optim",
    "learning_rate": "lr eta eta0 stepsize rate learningrateinit",
    "schedule": "scheduler lrscheduler lrschedule learningrateschedule",
    "l2": "weightdecay alpha lambd lmbda regularization regularizer kernelregularizer",
    "l1": "lasso",
    "dropout": "dropoutrate droprate dropoutp",
    "max_norm": "kernelconstraint",
    "clip_norm": "l2normclip maxgradnorm",
    "validation_data": "valdata validationset evalset",
    "validation_fraction": "validationsplit valsplit testsize",
    "early_stopping": "patience niternochange",
    "progress": "verbose verbosity progressbar",
    "metrics": "scoring",
    "metric": "scoring scorer",
    "checkpoint": "modelcheckpoint",
    "resume": "warmstart initialepoch",
    "sample_weight": "weight weights",
    "standardise": "standardize normalise normalize normalization standardscaler scale",
    "momentum": "nesterovsmomentum",
    "epsilon": "eps",
    "beta1": "betas",
    "alpha": "rho",
    "centred": "centered",
    "learning_rate_decay": "lrdecay",
    "min_delta": "tol tolerance",
    "restore_best": "restorebestweights",
    "larger_is_better": "mode greaterisbetter",
    "memory": "historysize maxcor",
    "max_evaluations": "maxfun maxeval",
}


def same(word: str, known: Iterable[str]) -> str | None:
    """The known word that another one stands for: the same but for case and marks, or a synonym."""
    plain = _plain(word)
    for candidate in known:
        if plain == _plain(candidate) or plain in OTHER_WORDS.get(candidate, "").split():
            return candidate
    return None


def meant(word: str, known: Iterable[str]) -> str | None:
    """`same`, or what is most like the word among the known ones and their synonyms."""
    known = list(known)
    found = same(word, known)
    if found is None:
        plain = _plain(word)
        for spellings, cutoff in (([_plain(k) for k in known], 0.6), (_others(known), 0.8)):
            near = difflib.get_close_matches(plain, spellings, 1, cutoff)
            if near:
                return same(near[0], known)
    return found


def _others(known: Iterable[str]) -> list[str]:
    return [other for word in known for other in OTHER_WORDS.get(word, "").split()]


def _plain(word: str) -> str:
    return "".join(letter for letter in word.lower() if letter.isalnum())
