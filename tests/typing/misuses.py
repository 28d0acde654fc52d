"""Uses that a type checker must refuse: each line it has to complain of ends with # refused."""

from cbackprop import Activation, Cost, EarlyStopping, Network

Network([2, 1], "sigmoyd")  # refused
Network([2, 1], "relu", "cross_entropie")  # refused
Network([2, 1], ["relu", "softmaxx"])  # refused
Network([2, 1], init="xavier")  # refused
Network([2, 1], backend="gpu")  # refused
Network(21)  # refused
Network([2, 1], seed="0")  # refused
Network([2, 1], "relu", "mse", "float32")  # refused

net = Network([2, 1])
X, Y = [[0.0, 1.0]], [[1.0]]
net.fit(X, Y, 10)  # refused
net.fit(X, Y, optimizer="adamm")  # refused
net.fit(X, Y, metrics=["acuracy"])  # refused
net.fit(X, Y, callbacks=[lambda: None])  # refused
net.fit(X, Y, early_stopping=EarlyStopping("10"))  # refused
net.fit(X, Y, class_weight="balance")  # refused
net.gradient(X, Y, per_examples=True)  # refused
net.cost(X, Y, per_example=True, sample_weight=[1.0])  # refused
net.predict(X, "out")  # refused
net.score(X, Y, "roc_auc")  # refused
net.chain_rule(X, Y).weight(2, 3)  # refused
net.chain_rule(X, Y).weight(2, 3, 7).svg("trees")  # refused
Activation(1.0, 2.0)  # refused
Cost(lambda a: a, lambda a, y: a)  # refused
