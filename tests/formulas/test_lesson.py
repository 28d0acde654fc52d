"""Every formula of the lesson, in its order, with numbers that do not come from the library.

Part I follows the lesson's first network, a chain of single neurons 1-1-1-1. Part II repeats it
with several neurons in a layer, 3-2-2. Part III holds the errata: what the lesson prints and what
is right.

The literals were computed scalar by scalar with Python's `decimal` at 60 digits and rounded to
float64 once. The recipe, from the formulas of the lesson alone, for one example (x, y):

    z_j = sum_k w_jk a_k + b_j,  a_j = 1/(1 + e^-z_j)              layer by layer, a^(0) = x
    C_0 = sum_j (a_j - y_j)^2,  dC/da_j = 2 (a_j - y_j)            at layer L; no factor 1/2
    da/dz_j = e^-z_j/(1 + e^-z_j)^2,  delta_j = da/dz_j dC/da_j
    dC/da_k^(l-1) = sum_j w_jk da/dz_j dC/da_j                     back, layer by layer
    dC/dw_jk = a_k delta_j,  dC/db_j = delta_j

A nudge is that recipe for C_0 twice, with and without the nudge, subtracted at 60 digits. The
parameters, x and y are sums of a few powers of two, so float32 and float64 start from the same
numbers.

In names, w_jk of layer l joins neuron k of layer l-1 to neuron j of layer l. Layers of weights
count from 1 in the lesson and in `chain_rule`; the tuples `weights` and `biases` count from 0.
Neurons count from 0.
"""

import os
import warnings

import numpy as np
import pytest

from cbackprop import SGD, Network

# Relative to the largest entry of the array compared, because a sum over paths or examples may
# cancel; for a single number that is its own relative error. A result here is some ten operations
# deep, each good to 4 ulp or better (sigma' is the worst). float64: 1e-14 is 45 ulp. float32: 2e-6
# is 17 ulp. A wrong formula misses by 1e-3 or more.
RTOL = {"float64": 1e-14, "float32": 2e-6}

# A measured change is a difference of two costs, so it carries their rounding (the costs are at
# most 1.03 here), not its own. float64: 2e-15 is 9 ulp of 1. float32: 2e-6 is 17 ulp of 1, and also
# covers the rounding of the nudged value.
NUDGE_ATOL = {"float64": 2e-15, "float32": 2e-6}

ETA = 0.5  # the learning rate


def close(actual, expected, net, atol=None):
    """Assert the shape and the numbers of `expected`, to the tolerance of the network's dtype."""
    expected = np.asarray(expected, dtype=np.float64)
    actual = np.asarray(actual, dtype=np.float64)
    assert actual.shape == expected.shape
    if atol is None:
        atol = RTOL[dtype_name(net)] * np.max(np.abs(expected))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=atol)


def dtype_name(net):
    return np.dtype(net.dtype).name


@pytest.fixture(scope="module", params=["compiled", "reference"])
def backend(request):
    """Both implementations answer to the same numbers."""
    if request.param == "compiled":
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            net = Network([1, 1], backend="compiled")
        warned = any(issubclass(w.category, RuntimeWarning) for w in caught)
        if warned or net.backend != "compiled":
            reason = "the compiled core is not built"
            if os.environ.get("CBACKPROP_REQUIRE_EXT") == "1":
                pytest.fail(reason)
            pytest.skip(reason)
    return request.param


@pytest.fixture(params=["float64", "float32"])
def dtype(request):
    return request.param


# ==================================================================================================
# I. One neuron per layer: 1-1-1-1
# ==================================================================================================

CHAIN_X = np.array([[0.5], [-1.25], [2.0]])
CHAIN_Y = np.array([[1.0], [0.0], [0.25]])
CHAIN_X0, CHAIN_Y0 = CHAIN_X[:1], CHAIN_Y[:1]  # the lesson's "one training example"

# The gradients of the three examples, in the order w^(1), b^(1), w^(2), b^(2), w^(3), b^(3).
CHAIN_GRADIENTS = [
    [
        0.008856108716605332,
        0.017712217433210664,
        -0.023457363533305357,
        -0.03768497371228012,
        -0.029496643042882065,
        -0.10927044259400283,
    ],
    [
        0.02662670464477209,
        -0.021301363715817673,
        0.01192272440626339,
        0.11175047363909976,
        0.1300965514638007,
        0.2555152923952831,
    ],
    [
        -0.01017998486598188,
        -0.00508999243299094,
        0.04235543517778577,
        0.04506312755918096,
        0.030796489820912286,
        0.18795067840192392,
    ],
]

# The average of the three, column by column.
CHAIN_MEAN_GRADIENT = [
    0.008434276165131848,
    -0.00289304623853265,
    0.010273598683581268,
    0.03970954249533353,
    0.043798799413943636,
    0.11139850940106806,
]


def make_chain(backend, dtype):
    net = Network([1, 1, 1, 1], dtype=dtype, backend=backend)
    net.weights[0][...], net.biases[0][...] = 1.5, -0.25
    net.weights[1][...], net.biases[1][...] = -2.0, 0.25
    net.weights[2][...], net.biases[2][...] = 1.75, 0.5
    return net


@pytest.fixture
def net_1111(backend, dtype):
    return make_chain(backend, dtype)


class TestOneNeuronPerLayer:
    """The lesson's first half: L = 3, and every layer is one neuron."""

    def test_weighted_input(self, net_1111):
        """z^(l) = w^(l) a^(l-1) + b^(l)."""
        f = net_1111.forward(CHAIN_X0)
        assert f.z[0] is None
        close(f.z[1], [[0.5]], net_1111)  # 1.5 * 0.5 - 0.25
        close(f.z[2], [[-0.9949186624037091]], net_1111)  # -2 * 0.62245... + 0.25
        close(f.z[3], [[0.9723978790571556]], net_1111)  # 1.75 * 0.26994... + 0.5

    def test_activation(self, net_1111):
        """a^(l) = sigma(z^(l)), and a^(0) is x."""
        f = net_1111.forward(CHAIN_X0)
        close(f.a[0], [[0.5]], net_1111)
        close(f.a[1], [[0.6224593312018546]], net_1111)  # 1/(1 + e^-0.5)
        close(f.a[2], [[0.2699416451755175]], net_1111)
        close(f.a[3], [[0.7255971878585994]], net_1111)
        close(net_1111.predict(CHAIN_X0), [[0.7255971878585994]], net_1111)

    def test_cost_of_one_example(self, net_1111):
        """C_0 = (a^(L) - y)^2, with no factor 1/2."""
        cost = net_1111.cost(CHAIN_X0, CHAIN_Y0)
        close(cost, 0.07529690331110882, net_1111)  # (0.72559... - 1)^2
        close(net_1111.gradient(CHAIN_X0, CHAIN_Y0).cost, 0.07529690331110882, net_1111)

    def test_weight_three_factors(self, net_1111):
        """dC_0/dw^(L) = dz^(L)/dw^(L) * da^(L)/dz^(L) * dC_0/da^(L)."""
        w = net_1111.chain_rule([0.5], [1.0]).weight(layer=3, j=0, k=0)
        close(w.dz_dw, 0.2699416451755175, net_1111)  # a^(L-1)
        close(w.da_dz, 0.19910590883029183, net_1111)  # sigma'(z^(L))
        close(w.dC_da, -0.5488056242828013, net_1111)  # 2 (a^(L) - y)
        close(w.value, -0.029496643042882065, net_1111)  # their product
        g = net_1111.gradient(CHAIN_X0, CHAIN_Y0)
        close(g.weights[2], [[-0.029496643042882065]], net_1111)

    def test_bias_first_factor_is_one(self, net_1111):
        """dC_0/db^(L) = 1 * sigma'(z^(L)) * 2 (a^(L) - y)."""
        b = net_1111.chain_rule([0.5], [1.0]).bias(layer=3, j=0)
        assert b.dz_db == 1.0
        close(b.da_dz, 0.19910590883029183, net_1111)
        close(b.dC_da, -0.5488056242828013, net_1111)
        close(b.value, -0.10927044259400283, net_1111)
        close(net_1111.gradient(CHAIN_X0, CHAIN_Y0).biases[2], [-0.10927044259400283], net_1111)

    def test_previous_activation_first_factor_is_the_weight(self, net_1111):
        """dC_0/da^(L-1) = w^(L) * sigma'(z^(L)) * 2 (a^(L) - y)."""
        a = net_1111.chain_rule([0.5], [1.0]).activation(layer=2, k=0)
        (path,) = a.paths  # one neuron in the next layer, one path
        assert path.j == 0
        assert path.dz_da == 1.75  # w^(L)
        close(path.da_dz, 0.19910590883029183, net_1111)
        close(path.dC_da, -0.5488056242828013, net_1111)
        close(path.value, -0.19122327453950497, net_1111)
        close(a.value, -0.19122327453950497, net_1111)

    def test_output_activation(self, net_1111):
        """dC_0/da^(L) = 2 (a^(L) - y): the cost itself, no path through a later layer."""
        a = net_1111.chain_rule([0.5], [1.0]).activation(layer=3, k=0)
        assert a.paths == ()
        close(a.value, -0.5488056242828013, net_1111)

    def test_nudge_of_a_hundredth(self, net_1111):
        """A nudge of 0.01 to w^(L) changes C_0 by about the derivative times 0.01."""
        nudge = net_1111.chain_rule([0.5], [1.0]).weight(layer=3, j=0, k=0).nudge(0.01)
        atol = NUDGE_ATOL[dtype_name(net_1111)]
        assert nudge.size == 0.01
        close(nudge.predicted, -0.00029496643042882065, net_1111)
        close(nudge.measured, -0.00029449821009198816, net_1111, atol=atol)
        close(nudge.ratio, -0.029449821009198813, net_1111, atol=atol / 0.01)

    def test_nudge_by_hand(self, net_1111):
        """The same change of C_0 when the caller turns w^(L) from 1.75 to 1.76."""
        before = net_1111.cost(CHAIN_X0, CHAIN_Y0)
        net_1111.weights[2][0, 0] += 0.01
        change = net_1111.cost(CHAIN_X0, CHAIN_Y0) - before
        atol = NUDGE_ATOL[dtype_name(net_1111)]
        close(change, -0.00029449821009198816, net_1111, atol=atol)

    def test_nudge_of_bias_and_activation(self, net_1111):
        """Everything in the tree can be nudged; the parameters stay as they were."""
        before = net_1111.parameters.copy()
        rule = net_1111.chain_rule([0.5], [1.0])
        atol = NUDGE_ATOL[dtype_name(net_1111)]
        for term, measured in [
            (rule.bias(layer=3, j=0), -0.001086289375110835),
            (rule.bias(layer=1, j=0), 0.00017688111040283042),
            (rule.weight(layer=1, j=0, k=0), 8.850101746477419e-05),
            (rule.activation(layer=2, k=0), -0.0018926198057811928),
            (rule.activation(layer=1, k=0), 0.0007532579306131527),
        ]:
            nudge = term.nudge(0.01)
            close(nudge.predicted, 0.01 * term.value, net_1111)
            close(nudge.measured, measured, net_1111, atol=atol)
        np.testing.assert_array_equal(net_1111.parameters, before)

    def test_ratio_tends_to_the_derivative(self, backend):
        """The ratio's error is first order: ten times less for a nudge ten times smaller.

        float64 only: in float32 the rounding of C_0 divided by the nudge is larger than that error.
        """
        rule = make_chain(backend, "float64").chain_rule([0.5], [1.0])
        for layer, derivative in [
            (1, 0.008856108716605332),
            (2, -0.023457363533305357),
            (3, -0.029496643042882065),
        ]:
            w = rule.weight(layer=layer, j=0, k=0)
            errors = [abs(w.nudge(size).ratio - derivative) for size in (1e-2, 1e-3, 1e-4)]
            assert 9 < errors[0] / errors[1] < 11
            assert 9 < errors[1] / errors[2] < 11

    def test_iterate_back_to_layer_2(self, net_1111):
        """The same three factors one layer back, with dC_0/da^(L-1) in the place of 2 (a - y)."""
        rule = net_1111.chain_rule([0.5], [1.0])
        w, b = rule.weight(layer=2, j=0, k=0), rule.bias(layer=2, j=0)
        close(w.dz_dw, 0.6224593312018546, net_1111)  # a^(1)
        assert b.dz_db == 1.0
        for term in (w, b):
            close(term.da_dz, 0.1970731533754525, net_1111)
            close(term.dC_da, -0.19122327453950497, net_1111)
        close(w.value, -0.023457363533305357, net_1111)
        close(b.value, -0.03768497371228012, net_1111)

    def test_iterate_back_to_layer_1(self, net_1111):
        """And one further, where the first factor is the input x."""
        rule = net_1111.chain_rule([0.5], [1.0])
        a = rule.activation(layer=1, k=0)
        assert a.paths[0].dz_da == -2.0  # w^(2)
        close(a.value, 0.07536994742456024, net_1111)
        w, b = rule.weight(layer=1, j=0, k=0), rule.bias(layer=1, j=0)
        assert w.dz_dw == 0.5  # x
        assert b.dz_db == 1.0
        for term in (w, b):
            close(term.da_dz, 0.2350037122015945, net_1111)
            close(term.dC_da, 0.07536994742456024, net_1111)
        close(w.value, 0.008856108716605332, net_1111)
        close(b.value, 0.017712217433210664, net_1111)

    def test_iterate_back_to_the_input(self, net_1111):
        """dC_0/dx = w^(1) sigma'(z^(1)) dC_0/da^(1)."""
        a = net_1111.chain_rule([0.5], [1.0]).activation(layer=0, k=0)
        assert a.paths[0].dz_da == 1.5  # w^(1)
        close(a.value, 0.026568326149815996, net_1111)
        close(net_1111.backward(CHAIN_X0, CHAIN_Y0).dC_da[0], [[0.026568326149815996]], net_1111)

    def test_backward_lists_every_layer(self, net_1111):
        """The same factors as arrays: da/dz, dC/da and delta = dC/dz, layer by layer."""
        b = net_1111.backward(CHAIN_X0, CHAIN_Y0)
        assert b.da_dz[0] is None
        assert b.delta[0] is None
        da_dz = [0.2350037122015945, 0.1970731533754525, 0.19910590883029183]
        dC_da = [
            0.026568326149815996,
            0.07536994742456024,
            -0.19122327453950497,
            -0.5488056242828013,
        ]
        delta = [0.017712217433210664, -0.03768497371228012, -0.10927044259400283]
        for layer in (1, 2, 3):
            close(b.da_dz[layer], [[da_dz[layer - 1]]], net_1111)
            close(b.delta[layer], [[delta[layer - 1]]], net_1111)
        for layer in (0, 1, 2, 3):
            close(b.dC_da[layer], [[dC_da[layer]]], net_1111)

    def test_average_over_examples(self, net_1111):
        """C = (1/n) sum_i C_i, and dC/dw is the average of the dC_i/dw."""
        costs = net_1111.cost(CHAIN_X, CHAIN_Y, per_example=True)
        close(costs, [0.07529690331110882, 0.6412083479672346, 0.19108431834903566], net_1111)
        close(net_1111.cost(CHAIN_X, CHAIN_Y), 0.3025298565424597, net_1111)

        G = net_1111.gradient(CHAIN_X, CHAIN_Y, per_example=True)
        close(G.vector, CHAIN_GRADIENTS, net_1111)  # not divided by n
        g = net_1111.gradient(CHAIN_X, CHAIN_Y)
        close(g.cost, 0.3025298565424597, net_1111)
        close(g.vector, CHAIN_MEAN_GRADIENT, net_1111)
        close(np.mean(G.vector, axis=0, dtype=np.float64), CHAIN_MEAN_GRADIENT, net_1111)

    def test_gradient_vector_order(self, net_1111):
        """The gradient vector is (w^(1), b^(1), ..., w^(L), b^(L)), as are the parameters."""
        np.testing.assert_array_equal(net_1111.parameters, [1.5, -0.25, -2.0, 0.25, 1.75, 0.5])
        one = net_1111.gradient(CHAIN_X0, CHAIN_Y0)
        close(one.vector, CHAIN_GRADIENTS[0], net_1111)
        mean = net_1111.gradient(CHAIN_X, CHAIN_Y)
        close(mean.vector, CHAIN_MEAN_GRADIENT, net_1111)
        for g in (one, mean):
            for i in range(3):
                assert g.weights[i].item() == g.vector[2 * i]
                assert g.biases[i].item() == g.vector[2 * i + 1]

    def test_gradient_norm(self, net_1111):
        """The length of the gradient vector: the root of the sum of its squares."""
        g = net_1111.gradient(CHAIN_X, CHAIN_Y)
        close(g.norm(), 0.12684582788941345, net_1111)

    def test_gradient_descent_step_on_one_example(self, net_1111):
        """w <- w - eta dC_0/dw with eta = 0.5; for instance 1.75 + 0.5 * 0.0294966 = 1.7647483."""
        net_1111.partial_fit(CHAIN_X0, CHAIN_Y0, optimizer=SGD(ETA))
        close(net_1111.weights[0], [[1.4955719456416974]], net_1111)
        close(net_1111.biases[0], [-0.2588561087166053], net_1111)
        close(net_1111.weights[1], [[-1.9882713182333474]], net_1111)
        close(net_1111.biases[1], [0.26884248685614004], net_1111)
        close(net_1111.weights[2], [[1.764748321521441]], net_1111)
        close(net_1111.biases[2], [0.5546352212970014], net_1111)
        close(net_1111.cost(CHAIN_X0, CHAIN_Y0), 0.06799941833826256, net_1111)  # it was 0.0753

    def test_gradient_descent_step_on_the_average(self, net_1111):
        """One step on three examples, by `partial_fit` and by `fit` for one epoch of one batch."""
        fitted = net_1111.copy()
        net_1111.partial_fit(CHAIN_X, CHAIN_Y, optimizer=SGD(ETA))
        fitted.fit(CHAIN_X, CHAIN_Y, epochs=1, batch_size=3, optimizer=SGD(ETA), shuffle=False)
        for net in (net_1111, fitted):
            close(net.weights[0], [[1.495782861917434]], net)
            close(net.biases[0], [-0.24855347688073368], net)
            close(net.weights[1], [[-2.005136799341791]], net)
            close(net.biases[1], [0.23014522875233323], net)
            close(net.weights[2], [[1.7281006002930281]], net)
            close(net.biases[2], [0.44430074529946595], net)
            close(net.cost(CHAIN_X, CHAIN_Y), 0.29452201333336764, net)  # it was 0.3025
        np.testing.assert_array_equal(net_1111.parameters, fitted.parameters)

    def test_repeated_steps_lower_the_cost(self, net_1111):
        """Twenty steps down the slope: from 0.3025 to 0.2075, every step lower."""
        costs = [net_1111.cost(CHAIN_X, CHAIN_Y)]
        for _ in range(20):
            net_1111.partial_fit(CHAIN_X, CHAIN_Y, optimizer=SGD(ETA))
            costs.append(net_1111.cost(CHAIN_X, CHAIN_Y))
        assert all(np.diff(costs) < 0)
        # Twenty steps add up twenty roundings of each parameter.
        atol = 20 * RTOL[dtype_name(net_1111)]
        close(costs[-1], 0.20748919195894205, net_1111, atol=atol)


# ==================================================================================================
# II. Several neurons per layer: 3-2-2
# ==================================================================================================

WIDE_X = np.array([[1.0, 0.5, -0.25], [-0.75, 2.0, 0.5], [0.25, -1.0, 1.5]])
WIDE_Y = np.array([[1.0, 0.0], [0.0, 1.0], [0.25, 0.75]])
WIDE_X0, WIDE_Y0 = WIDE_X[:1], WIDE_Y[:1]

# Per example: W^(1) row by row, b^(1), W^(2) row by row, b^(2), one of them a line.
# fmt: off
WIDE_GRADIENTS = [
    [
        -0.1748771057817624, -0.0874385528908812, 0.0437192764454406,
        0.1145629144622555, 0.05728145723112775, -0.028640728615563875,
        -0.1748771057817624, 0.1145629144622555,
        -0.13425020771172938, -0.242154824478144,
        0.1237367405774854, 0.22319107885760628,
        -0.2961868692446672, 0.2729917400268048,
    ],
    [
        -0.023514059275397917, 0.06270415806772778, 0.015676039516931944,
        0.06136444643493279, -0.16363852382648744, -0.04090963095662186,
        0.03135207903386389, -0.08181926191324372,
        0.013814280112129203, 0.03978508833343719,
        -0.013635997692507925, -0.03927163546036972,
        0.16233178775378262, -0.16023678868996738,
    ],
    [
        0.006581297524600654, -0.026325190098402618, 0.03948778514760393,
        -0.024397494958528547, 0.09758997983411419, -0.1463849697511713,
        0.026325190098402618, -0.09758997983411419,
        0.13957947876465226, 0.044041210502494,
        -0.16676916733964547, -0.05262031402563872,
        0.14969058229333113, -0.17884988530253382,
    ],
]

# The average of the three, column by column.
WIDE_MEAN_GRADIENT = [
    -0.06393662251085322, -0.01701986164051868, 0.03296103370332549,
    0.05050995531288658, -0.002922362253748498, -0.07197844310778567,
    -0.03906661221649863, -0.021615442428367472,
    0.006381183721684027, -0.052776175214070936,
    -0.018889474818222663, 0.04376637645719928,
    0.0052785002674821885, -0.022031644655232125,
]
# fmt: on


def make_wide(backend, dtype):
    net = Network([3, 2, 2], dtype=dtype, backend=backend)
    net.weights[0][...] = [[0.5, -1.25, 0.75], [1.5, 0.25, -0.5]]
    net.biases[0][...] = [0.125, -0.25]
    net.weights[1][...] = [[1.0, -0.75], [-1.5, 2.0]]
    net.biases[1][...] = [-0.5, 0.25]
    return net


@pytest.fixture
def net_322(backend, dtype):
    return make_wide(backend, dtype)


@pytest.fixture
def rule_322(net_322):
    return net_322.chain_rule(WIDE_X[0], WIDE_Y[0])


class TestSeveralNeuronsPerLayer:
    """The lesson's second half: the same calculus with "a few more indices". L = 2."""

    def test_index_order_of_w_jk(self, net_322):
        """w_jk joins k in layer l-1 to j in layer l: one weight set, one z moves, by one a_k."""
        assert net_322.weights[0].shape == (2, 3)  # (n_l, n_{l-1})
        assert net_322.weights[1].shape == (2, 2)
        assert net_322.biases[0].shape == (2,)
        for j in range(2):
            for k in range(3):
                net_322.parameters = np.zeros(14)
                net_322.weights[0][j, k] = 1.0
                expected = [0.0, 0.0]
                expected[j] = WIDE_X[0, k]
                np.testing.assert_array_equal(net_322.forward(WIDE_X0).z[1], [expected])

    def test_weighted_input(self, net_322):
        """z_j^(l) = sum_k w_jk^(l) a_k^(l-1) + b_j^(l)."""
        f = net_322.forward(WIDE_X0)
        assert f.z[0] is None
        # 0.5 - 0.625 - 0.1875 + 0.125, and 1.5 + 0.125 + 0.125 - 0.25
        close(f.z[1], [[-0.1875, 1.5]], net_322)
        close(f.z[2], [[-0.6599190091298466, 1.2052561803642081]], net_322)

    def test_activation(self, net_322):
        """a_j^(l) = sigma(z_j^(l))."""
        f = net_322.forward(WIDE_X0)
        close(f.a[0], WIDE_X0, net_322)
        close(f.a[1], [[0.45326184801538616, 0.8175744761936437]], net_322)
        close(f.a[2], [[0.3407578052588076, 0.7694585087416177]], net_322)
        close(net_322.predict(WIDE_X0), [[0.3407578052588076, 0.7694585087416177]], net_322)

    def test_cost_of_one_example(self, net_322):
        """C_0 = sum_j (a_j^(L) - y_j)^2: a sum over j, neither halved nor averaged."""
        cost = net_322.cost(WIDE_X0, WIDE_Y0)
        close(cost, 1.0266666680020584, net_322)  # 0.65924...^2 + 0.76945...^2
        close(net_322.gradient(WIDE_X0, WIDE_Y0).cost, 1.0266666680020584, net_322)

    def test_weight_three_factors(self, net_322, rule_322):
        """dC_0/dw_jk^(L) = a_k^(L-1) * sigma'(z_j^(L)) * 2 (a_j^(L) - y_j)."""
        dz_dw = [0.45326184801538616, 0.8175744761936437]  # a_k^(L-1): goes with k
        da_dz = [0.22464192341400815, 0.17739211206674352]  # goes with j
        dC_da = [-1.3184843894823848, 1.5389170174832354]  # goes with j
        dC_dW = [
            [-0.13425020771172938, -0.242154824478144],
            [0.1237367405774854, 0.22319107885760628],
        ]
        g = net_322.gradient(WIDE_X0, WIDE_Y0)
        for (j, k), value in np.ndenumerate(dC_dW):
            w = rule_322.weight(layer=2, j=j, k=k)
            close(w.dz_dw, dz_dw[k], net_322)
            close(w.da_dz, da_dz[j], net_322)
            close(w.dC_da, dC_da[j], net_322)
            close(w.value, value, net_322)
            close(g.weights[1][j, k], value, net_322)

    def test_bias_first_factor_is_one(self, net_322, rule_322):
        """dC_0/db_j^(L) = 1 * sigma'(z_j^(L)) * 2 (a_j^(L) - y_j)."""
        for j, value in enumerate([-0.2961868692446672, 0.2729917400268048]):
            b = rule_322.bias(layer=2, j=j)
            assert b.dz_db == 1.0
            close(b.value, value, net_322)

    @pytest.mark.parametrize(
        ("k", "weights", "contributions", "value"),
        [
            (0, (1.0, -1.5), (-0.2961868692446672, -0.40948761004020723), -0.7056744792848744),
            (1, (-0.75, 2.0), (0.2221401519335004, 0.5459834800536096), 0.76812363198711),
        ],
    )
    def test_sum_over_paths(self, net_322, rule_322, k, weights, contributions, value):
        """dC_0/da_k^(L-1) = sum_j w_jk sigma'(z_j) dC_0/da_j: a_k acts on C_0 through every j."""
        a = rule_322.activation(layer=1, k=k)
        assert [path.j for path in a.paths] == [0, 1]
        assert [path.dz_da for path in a.paths] == list(weights)  # column k of W^(L)
        for path, da_dz, dC_da, contribution in zip(
            a.paths,
            (0.22464192341400815, 0.17739211206674352),
            (-1.3184843894823848, 1.5389170174832354),
            contributions,
            strict=True,
        ):
            close(path.da_dz, da_dz, net_322)
            close(path.dC_da, dC_da, net_322)
            close(path.value, contribution, net_322)
        close(a.value, value, net_322)

    def test_output_activations(self, net_322, rule_322):
        """dC_0/da_j^(L) = 2 (a_j^(L) - y_j): no paths."""
        for k, value in enumerate([-1.3184843894823848, 1.5389170174832354]):
            a = rule_322.activation(layer=2, k=k)
            assert a.paths == ()
            close(a.value, value, net_322)

    @pytest.mark.parametrize(
        ("j", "da_dz", "dC_da", "row"),
        [
            (
                0,
                0.24781554514906312,
                -0.7056744792848744,
                (-0.1748771057817624, -0.0874385528908812, 0.0437192764454406),
            ),
            (
                1,
                0.14914645207033286,
                0.76812363198711,
                (0.1145629144622555, 0.05728145723112775, -0.028640728615563875),
            ),
        ],
    )
    def test_iterate_back_to_layer_1(self, net_322, rule_322, j, da_dz, dC_da, row):
        """dC_0/dw_jk^(1) = x_k * sigma'(z_j^(1)) * dC_0/da_j^(1), the last the sum over paths."""
        for k in range(3):
            w = rule_322.weight(layer=1, j=j, k=k)
            assert w.dz_dw == WIDE_X[0, k]
            close(w.da_dz, da_dz, net_322)
            close(w.dC_da, dC_da, net_322)
            close(w.value, row[k], net_322)
        b = rule_322.bias(layer=1, j=j)
        assert b.dz_db == 1.0
        close(b.da_dz, da_dz, net_322)
        close(b.dC_da, dC_da, net_322)
        close(b.value, row[0], net_322)  # x_0 is 1

    def test_iterate_back_to_the_input(self, net_322, rule_322):
        """dC_0/dx_k = sum_j w_jk^(1) sigma'(z_j^(1)) dC_0/da_j^(1)."""
        value = [0.08440581880250204, 0.2472371108427669, -0.18843928656744954]
        contributions = [
            (-0.0874385528908812, 0.17184437169338324),
            (0.218596382227203, 0.028640728615563875),
            (-0.1311578293363218, -0.05728145723112775),
        ]
        for k in range(3):
            a = rule_322.activation(layer=0, k=k)
            close([path.value for path in a.paths], contributions[k], net_322)
            # The two paths of k = 0 cancel in part, so the largest of the three sets the tolerance.
        close([rule_322.activation(layer=0, k=k).value for k in range(3)], value, net_322)
        close(net_322.backward(WIDE_X0, WIDE_Y0).dC_da[0], [value], net_322)

    def test_delta(self, net_322):
        """delta_j^(l) = dC_0/dz_j^(l) = sigma'(z_j) dC_0/da_j, and dC_0/dw_jk = delta_j a_k."""
        b = net_322.backward(WIDE_X0, WIDE_Y0)
        assert b.da_dz[0] is None
        assert b.delta[0] is None
        close(
            b.dC_da[0], [[0.08440581880250204, 0.2472371108427669, -0.18843928656744954]], net_322
        )
        close(b.da_dz[1], [[0.24781554514906312, 0.14914645207033286]], net_322)
        close(b.dC_da[1], [[-0.7056744792848744, 0.76812363198711]], net_322)
        close(b.delta[1], [[-0.1748771057817624, 0.1145629144622555]], net_322)
        close(b.da_dz[2], [[0.22464192341400815, 0.17739211206674352]], net_322)
        close(b.dC_da[2], [[-1.3184843894823848, 1.5389170174832354]], net_322)
        close(b.delta[2], [[-0.2961868692446672, 0.2729917400268048]], net_322)

        g = net_322.gradient(WIDE_X0, WIDE_Y0)
        for i in range(2):
            close(g.weights[i], np.outer(b.delta[i + 1][0], b.a[i][0]), net_322)
            close(g.biases[i], b.delta[i + 1][0], net_322)

    def test_nudge_of_a_hundredth(self, net_322, rule_322):
        """C_0 changes by about the derivative times 0.01, whatever is nudged."""
        atol = NUDGE_ATOL[dtype_name(net_322)]
        for term, derivative, measured in [
            (rule_322.weight(layer=2, j=0, k=1), -0.242154824478144, -0.002421309584240931),
            (rule_322.weight(layer=2, j=1, k=0), 0.1237367405774854, 0.0012365007932331447),
            (rule_322.weight(layer=1, j=0, k=2), 0.0437192764454406, 0.0004371063580522147),
            (rule_322.weight(layer=1, j=1, k=0), 0.1145629144622555, 0.0011416243277389978),
            (rule_322.bias(layer=2, j=0), -0.2961868692446672, -0.0029615055737451192),
            (rule_322.bias(layer=1, j=1), 0.1145629144622555, 0.0011416243277389978),
            (rule_322.activation(layer=1, k=0), -0.7056744792848744, -0.007065784822389047),
            (rule_322.activation(layer=1, k=1), 0.76812363198711, 0.007664413324563019),
        ]:
            nudge = term.nudge(0.01)
            assert nudge.size == 0.01
            close(nudge.predicted, 0.01 * derivative, net_322)
            close(nudge.measured, measured, net_322, atol=atol)
            close(nudge.ratio, measured / 0.01, net_322, atol=atol / 0.01)
            assert nudge.measured == pytest.approx(nudge.predicted, rel=0.01)

    def test_nudge_by_hand(self, net_322):
        """The same change of C_0 when the caller turns w_10^(2) from -1.5 to -1.49."""
        before = net_322.cost(WIDE_X0, WIDE_Y0)
        net_322.weights[1][1, 0] += 0.01
        change = net_322.cost(WIDE_X0, WIDE_Y0) - before
        close(change, 0.0012365007932331447, net_322, atol=NUDGE_ATOL[dtype_name(net_322)])

    def test_ratio_tends_to_the_derivative(self, backend):
        """First order for every weight of both layers (float64 only, as for the chain)."""
        rule = make_wide(backend, "float64").chain_rule(WIDE_X[0], WIDE_Y[0])
        W1 = np.reshape(WIDE_GRADIENTS[0][0:6], (2, 3))
        W2 = np.reshape(WIDE_GRADIENTS[0][8:12], (2, 2))
        for layer, dC_dW in [(1, W1), (2, W2)]:
            for (j, k), derivative in np.ndenumerate(dC_dW):
                w = rule.weight(layer=layer, j=j, k=k)
                errors = [abs(w.nudge(size).ratio - derivative) for size in (1e-2, 1e-3, 1e-4)]
                assert 9 < errors[0] / errors[1] < 11
                assert 9 < errors[1] / errors[2] < 11

    def test_average_over_examples(self, net_322):
        """C = (1/n) sum_i C_i, and the gradient of C is the average of the gradients of the C_i."""
        costs = net_322.cost(WIDE_X, WIDE_Y, per_example=True)
        close(costs, [1.0266666680020584, 0.24930913711298117, 0.2410484385581947], net_322)
        close(net_322.cost(WIDE_X, WIDE_Y), 0.5056747478910781, net_322)

        G = net_322.gradient(WIDE_X, WIDE_Y, per_example=True)
        assert [W.shape for W in G.weights] == [(3, 2, 3), (3, 2, 2)]
        assert [b.shape for b in G.biases] == [(3, 2), (3, 2)]
        close(G.vector, WIDE_GRADIENTS, net_322)  # not divided by n
        g = net_322.gradient(WIDE_X, WIDE_Y)
        close(g.cost, 0.5056747478910781, net_322)
        close(g.vector, WIDE_MEAN_GRADIENT, net_322)
        close(np.mean(G.vector, axis=0, dtype=np.float64), WIDE_MEAN_GRADIENT, net_322)

    def test_gradient_vector_order(self, net_322):
        """(W^(1), b^(1), W^(2), b^(2)), each W row by row: j slow, k fast."""
        net_322.parameters = np.arange(14)
        np.testing.assert_array_equal(net_322.weights[0], [[0, 1, 2], [3, 4, 5]])
        np.testing.assert_array_equal(net_322.biases[0], [6, 7])
        np.testing.assert_array_equal(net_322.weights[1], [[8, 9], [10, 11]])
        np.testing.assert_array_equal(net_322.biases[1], [12, 13])
        net_322.weights[1][1, 0] = -1.0
        assert net_322.parameters[10] == -1.0

    def test_gradient_vector(self, net_322):
        """The gradient has the order of the parameters, for one example, the mean, and each."""
        one = net_322.gradient(WIDE_X0, WIDE_Y0)
        mean = net_322.gradient(WIDE_X, WIDE_Y)
        each = net_322.gradient(WIDE_X, WIDE_Y, per_example=True)
        close(one.vector, WIDE_GRADIENTS[0], net_322)
        close(mean.vector, WIDE_MEAN_GRADIENT, net_322)
        close(each.vector, WIDE_GRADIENTS, net_322)
        for g in (one, mean, each):
            n = g.vector.shape[:-1]  # () or (3,): per example, a leading axis
            np.testing.assert_array_equal(g.weights[0], g.vector[..., 0:6].reshape(*n, 2, 3))
            np.testing.assert_array_equal(g.biases[0], g.vector[..., 6:8])
            np.testing.assert_array_equal(g.weights[1], g.vector[..., 8:12].reshape(*n, 2, 2))
            np.testing.assert_array_equal(g.biases[1], g.vector[..., 12:14])

    def test_gradient_norm(self, net_322):
        """The length of the gradient vector."""
        close(net_322.gradient(WIDE_X, WIDE_Y).norm(), 0.1442557617773949, net_322)

    def test_gradient_descent_step_on_one_example(self, net_322):
        """w_jk <- w_jk - eta dC_0/dw_jk; for instance 0.5 + 0.5 * 0.1748771 = 0.5874386."""
        net_322.partial_fit(WIDE_X0, WIDE_Y0, optimizer=SGD(ETA))
        W1 = [
            [0.5874385528908812, -1.2062807235545594, 0.7281403617772797],
            [1.4427185427688722, 0.22135927138443612, -0.48567963569221806],
        ]
        W2 = [
            [1.0671251038558647, -0.628922587760928],
            [-1.5618683702887426, 1.888404460571197],
        ]
        close(net_322.weights[0], W1, net_322)
        close(net_322.biases[0], [0.2124385528908812, -0.30728145723112776], net_322)
        close(net_322.weights[1], W2, net_322)
        close(net_322.biases[1], [-0.3519065653776664, 0.1135041299865976], net_322)
        close(net_322.cost(WIDE_X0, WIDE_Y0), 0.8198483278442176, net_322)  # it was 1.0267

    def test_gradient_descent_step_on_the_average(self, net_322):
        """One step on three examples, by `partial_fit` and by `fit` for one epoch of one batch."""
        fitted = net_322.copy()
        net_322.partial_fit(WIDE_X, WIDE_Y, optimizer=SGD(ETA))
        fitted.fit(WIDE_X, WIDE_Y, epochs=1, batch_size=3, optimizer=SGD(ETA), shuffle=False)
        W1 = [
            [0.5319683112554267, -1.2414900691797406, 0.7335194831483373],
            [1.4747450223435568, 0.25146118112687427, -0.46401077844610716],
        ]
        W2 = [
            [0.996809408139158, -0.7236119123929645],
            [-1.4905552625908887, 1.9781168117714003],
        ]
        for net in (net_322, fitted):
            close(net.weights[0], W1, net)
            close(net.biases[0], [0.14453330610824933, -0.23919227878581625], net)
            close(net.weights[1], W2, net)
            close(net.biases[1], [-0.5026392501337411, 0.26101582232761605], net)
            close(net.cost(WIDE_X, WIDE_Y), 0.4953235327948386, net)  # it was 0.5057
        np.testing.assert_array_equal(net_322.parameters, fitted.parameters)

    def test_repeated_steps_lower_the_cost(self, net_322):
        """Twenty steps down the slope: from 0.5057 to 0.3396, every step lower."""
        costs = [net_322.cost(WIDE_X, WIDE_Y)]
        for _ in range(20):
            net_322.partial_fit(WIDE_X, WIDE_Y, optimizer=SGD(ETA))
            costs.append(net_322.cost(WIDE_X, WIDE_Y))
        assert all(np.diff(costs) < 0)
        atol = 20 * RTOL[dtype_name(net_322)]
        close(costs[-1], 0.3395978349700686, net_322, atol=atol)


# ==================================================================================================
# III. Errata of the lesson
# ==================================================================================================


def make_unit(backend, dtype):
    """One neuron with w = 1 and b = 0: its z is its input."""
    net = Network([1, 1], dtype=dtype, backend=backend)
    net.weights[0][...], net.biases[0][...] = 1.0, 0.0
    return net


# e^-z/(1 + e^-z)^2 at 60 digits. sigma' is even, so z and -z have the same value.
SIGMA_PRIME = {
    0.0: 0.25,
    1.0: 0.19661193324148185,
    2.5: 0.07010371654510816,
    40.0: 4.248354255291589e-18,
}


class TestErratum1SigmaPrime:
    """Printed: e^-x/(1 - e^-z). Right: e^-z/(1 + e^-z)^2."""

    @pytest.mark.parametrize("z", [0.0, 1.0, -1.0, 2.5, -2.5, 40.0, -40.0])
    def test_right_form(self, backend, dtype, z):
        net = make_unit(backend, dtype)
        close(net.backward([[z]], [[0.0]]).da_dz[1], [[SIGMA_PRIME[abs(z)]]], net)

    def test_printed_form_is_wrong_at_one(self, backend, dtype):
        net = make_unit(backend, dtype)
        printed = np.exp(-1.0) / (1.0 - np.exp(-1.0))
        assert printed == pytest.approx(0.5819767068693265, rel=1e-14)
        da_dz = net.chain_rule([1.0], [0.0]).weight(layer=1, j=0, k=0).da_dz
        close(da_dz, 0.19661193324148185, net)
        # The slope of sigma itself sides with the right form: its difference quotient at 1.
        quotient = (1 / (1 + np.exp(-1.0 - 1e-6)) - 1 / (1 + np.exp(-1.0 + 1e-6))) / 2e-6
        assert quotient == pytest.approx(0.19661193324148185, rel=1e-8)

    def test_printed_form_is_undefined_at_zero(self, backend, dtype):
        net = make_unit(backend, dtype)
        assert 1.0 - np.exp(-0.0) == 0.0  # the printed denominator
        assert net.chain_rule([0.0], [0.0]).weight(layer=1, j=0, k=0).da_dz == 0.25

    def test_saturated_unit_still_learns(self, backend, dtype):
        """At z = 40, a rounds to 1 and a (1 - a) to 0, but sigma' is e^-40 to 17 digits."""
        net = make_unit(backend, dtype)
        X, Y = [[40.0]], [[0.0]]
        a = net.forward(X).a[1]
        assert a.item() * (1 - a.item()) == 0
        # With y = 0: dC/db = sigma'(z) * 2 a, and dC/dw = 40 times that.
        g = net.gradient(X, Y)
        close(g.biases[0], [8.496708510583178e-18], net)
        close(g.weights[0], [[3.398683404233271e-16]], net)

    @pytest.mark.parametrize("z", [700.0, -700.0])
    def test_far_saturated(self, backend, z):
        """At |z| = 700, e^-700 is still a normal float64 (and below the least float32)."""
        net = make_unit(backend, "float64")
        y = 0.0 if z > 0 else 1.0  # the wrong answer, so that |a - y| is 1
        b = net.backward([[z]], [[y]])
        close(b.da_dz[1], [[9.85967654375977e-305]], net)
        close(b.delta[1], [[np.copysign(1.971935308751954e-304, z)]], net)
        if z > 0:
            a = b.a[1].item()
            assert a * (1 - a) == 0


class TestErratum2WeightIsDzDa:
    """Printed: dz^(L)/dw^(L-1) comes out to be the weight. Right: dz^(L)/da^(L-1) does."""

    def test_chain(self, net_1111):
        rule = net_1111.chain_rule([0.5], [1.0])
        for layer, w in [(0, 1.5), (1, -2.0), (2, 1.75)]:
            assert rule.activation(layer=layer, k=0).paths[0].dz_da == w

    def test_several_neurons(self, rule_322):
        W1 = [[0.5, -1.25, 0.75], [1.5, 0.25, -0.5]]
        W2 = [[1.0, -0.75], [-1.5, 2.0]]
        for layer, W in [(0, W1), (1, W2)]:
            for (j, k), w_jk in np.ndenumerate(W):
                assert rule_322.activation(layer=layer, k=k).paths[j].dz_da == w_jk

    def test_z_moves_by_w_jk_times_the_nudge(self, net_322):
        """z is linear in a, so this quotient is w_jk with no error: all numbers are short."""
        z = net_322.forward(WIDE_X0).z[1]
        for k in range(3):
            X = WIDE_X0.copy()
            X[0, k] += 0.5
            dz_da = (net_322.forward(X).z[1] - z) / 0.5
            np.testing.assert_array_equal(dz_da, [net_322.weights[0][:, k]])

    def test_dz_dw_is_the_activation(self, net_322, rule_322):
        a = net_322.forward(WIDE_X0).a
        for layer in (1, 2):
            for (j, k), w_jk in np.ndenumerate(net_322.weights[layer - 1]):
                dz_dw = rule_322.weight(layer=layer, j=j, k=k).dz_dw
                close(dz_dw, a[layer - 1][0, k], net_322)
                assert dz_dw != w_jk


class TestErratum3InnerFactorIsOne:
    """Printed: dC/da = 2 (a - y) * dC/da [a - y]. Right: the inner factor d/da [a - y] is 1."""

    def test_chain(self, net_1111):
        dC_da = net_1111.backward(CHAIN_X0, CHAIN_Y0).dC_da[3]
        close(dC_da, [[-0.5488056242828013]], net_1111)  # 2 (a - y)
        # Read as printed, with dC/da as the inner factor, it would be (2 (a - y))^2 = 0.301.
        assert dC_da.item() < 0

    def test_several_neurons(self, net_322):
        b = net_322.backward(WIDE_X0, WIDE_Y0)
        close(b.dC_da[2], [[-1.3184843894823848, 1.5389170174832354]], net_322)
        close(b.dC_da[2], 2 * (b.a[2] - WIDE_Y0), net_322)


class TestErratum4OneExampleOrAllOfThem:
    """C_0 and C are mixed in the lesson. A chain for one example gives dC_0/dw, not dC/dw."""

    def test_chain(self, net_1111):
        w = net_1111.chain_rule([0.5], [1.0]).weight(layer=3, j=0, k=0)
        close(w.value, -0.029496643042882065, net_1111)  # dC_0/dw^(3)
        one = net_1111.gradient(CHAIN_X0, CHAIN_Y0)
        close(one.weights[2], [[-0.029496643042882065]], net_1111)
        mean = net_1111.gradient(CHAIN_X, CHAIN_Y)
        close(mean.weights[2], [[0.043798799413943636]], net_1111)  # dC/dw^(3): the other sign

    def test_several_neurons(self, net_322, rule_322):
        w = rule_322.weight(layer=2, j=1, k=0)
        close(w.value, 0.1237367405774854, net_322)  # dC_0/dw_10^(2)
        one = net_322.gradient(WIDE_X0, WIDE_Y0)
        close(one.weights[1][1, 0], 0.1237367405774854, net_322)
        every = net_322.gradient(WIDE_X, WIDE_Y, per_example=True)
        close(every.weights[1][0, 1, 0], 0.1237367405774854, net_322)
        mean = net_322.gradient(WIDE_X, WIDE_Y)
        # dC/dw_10^(2), the other sign again; it is a difference of terms ten times larger.
        atol = 10 * 0.0189 * RTOL[dtype_name(net_322)]
        close(mean.weights[1][1, 0], -0.018889474818222663, net_322, atol=atol)


class TestErratum5NudgeInTheLimit:
    """A nudge of 0.01 does not give the derivative; the limit of ever smaller nudges does."""

    def test_chain(self, backend):
        """The ratios at 60 digits; 0.01 is off in the third digit."""
        net = make_chain(backend, "float64")
        w = net.chain_rule([0.5], [1.0]).weight(layer=3, j=0, k=0)
        for size, ratio in [
            (1e-2, -0.029449821009198813),
            (1e-3, -0.029491958298709292),
            (1e-4, -0.02949617454307283),
        ]:
            close(w.nudge(size).ratio, ratio, net, atol=NUDGE_ATOL["float64"] / size)
        assert abs(w.nudge(1e-2).ratio / w.value - 1) > 1e-3
        assert abs(w.nudge(1e-6).ratio / w.value - 1) < 1e-6

    def test_several_neurons(self, backend):
        net = make_wide(backend, "float64")
        w = net.chain_rule(WIDE_X[0], WIDE_Y[0]).weight(layer=1, j=1, k=0)
        for size, ratio in [
            (1e-2, 0.11416243277389979),
            (1e-3, 0.11452283197774864),
            (1e-4, 0.11455890587286949),
        ]:
            close(w.nudge(size).ratio, ratio, net, atol=NUDGE_ATOL["float64"] / size)
        assert abs(w.nudge(1e-2).ratio / w.value - 1) > 1e-3
        assert abs(w.nudge(1e-6).ratio / w.value - 1) < 1e-6
