// What each phase says.
// Each returns its title, a sentence of meaning, lines of the formula (the last is the result),
// named factors, a note, and the table of all values.

const name = (letter, l, ...indices) => `${letter}_{${indices.join(",")}}^{(${l})}`;
const plural = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;
const joined = (terms) => terms.join(" + ");
const vector = (values) => `(${values.map(N).join(", ")})`;

// A row for each neuron of a layer, of which one is chosen.
const neuronRows = (l, cells) =>
  range(sizes[l]).map((i) => ({
    chosen: i === at.neuron[l],
    choose: () => chooseNeuron(l, i),
    cells: [String(i), ...cells(i)],
  }));

// Parameter k of neuron j, in parameters or a gradient, and its name: a weight, or the bias at last.
const parameterOf = ({ weights, biases }, l, j, k) =>
  k === sizes[l - 1] ? biases[l - 1][j] : weights[l - 1][j][k];
const parameterName = (l, j, k) => (k === sizes[l - 1] ? name("b", l, j) : name("w", l, j, k));

const told = {
  example() {
    const { a, y, example } = now();
    const tables = range(L).map((i) => parameterTable(i + 1));
    return {
      title: `Example ${example + 1} of ${record.n_examples} comes in`,
      meaning:
        "`x` goes in at the left; `y` is what the outputs should be. The lines are the weights as " +
        "they are now. Press Step.",
      lines: [`x = a^{(0)} = ${vector(a[0])}`, `y = ${vector(y)}`],
      tables,
    };
  },

  z(l) {
    const { a, z } = now();
    const W = before().weights[l - 1];
    const b = before().biases[l - 1];
    const j = at.neuron[l];
    const below = range(sizes[l - 1]);
    const lines = [`${name("z", l, j)} = Σ_{k} ${name("w", l, j, "k")} ${name("a", l - 1, "k")} + ${name("b", l, j)}`];
    if (below.length <= 4) {
      lines.push(
        `= ${joined(below.map((k) => `${name("w", l, j, k)} ${name("a", l - 1, k)}`))} + ${name("b", l, j)}`,
      );
    }
    lines.push(`= ${joined(below.map((k) => `${P(W[j][k])}·${P(a[l - 1][k])}`))} + ${P(b[j])}`);
    lines.push(`= ${N(z[l][j])}`);
    return {
      title: `Layer ${l}: weighted inputs z`,
      meaning:
        `Each neuron of layer ${l} adds up what comes from the layer before, every activation ` +
        "times the weight of its line, and its own bias.",
      lines,
      tables: [
        {
          caption: `Weights, bias and weighted input of each neuron \`j\` of layer ${l}`,
          head: ["j", ...below.map((k) => `w_{j,${k}}`), "b_{j}", "z_{j}"],
          under: ["", ...below.map((k) => `·${P(a[l - 1][k])}`), "", ""],
          rows: neuronRows(l, (i) => [...below.map((k) => N(W[i][k])), N(b[i]), N(z[l][i])]),
        },
      ],
    };
  },

  a(l) {
    const { a, z } = now();
    const j = at.neuron[l];
    const { name: function_, value, note } = record.activations[l - 1];
    const lines = [];
    if (softmax(l)) {
      lines.push(`${name("a", l, j)} = exp(z_{${j}})/Σ_{i} exp(z_{i})`);
      lines.push(`= exp(${N(z[l][j])})/(${joined(z[l].map((v) => `exp(${N(v)})`))})`);
    } else {
      lines.push(`${name("a", l, j)} = σ(${name("z", l, j)}), with σ the ${function_} function`);
      if (value !== null) {
        lines.push(`σ(z) = ${value}`);
        lines.push(`= ${filled(value, { z: P(z[l][j]) })}`);
      } else {
        lines.push(`= σ(${N(z[l][j])})`);
      }
    }
    lines.push(`= ${N(a[l][j])}`);
    return {
      title: `Layer ${l}: activations a = σ(z)`,
      meaning: softmax(l)
        ? "Softmax makes shares of the weighted inputs: all positive, with the sum 1."
        : `Each weighted input goes through the ${function_} function; what comes out is ` +
          (l === L ? "the answer of the network." : "what the next layer gets."),
      lines,
      note,
      tables: [
        {
          caption: `Weighted input and activation of each neuron \`j\` of layer ${l}`,
          head: ["j", "z_{j}", "a_{j}"],
          rows: neuronRows(l, (i) => [N(z[l][i]), N(a[l][i])]),
        },
      ],
    };
  },

  cost() {
    const { a, y, cost } = now();
    const { name: function_, part, note } = record.cost;
    const outputs = range(sizes[L]);
    const lines = [];
    if (part === null) {
      lines.push(`C = ${function_}(a, y)`);
      lines.push(`= ${function_}(${vector(a[L])}, ${vector(y)})`);
    } else {
      const single = sizes[L] === 1;
      const general = filled(part, { a: name("a", L, "j"), y: "y_{j}", n: "n" });
      const plain = /^\(a − y\)²$/.test(part);
      lines.push(`C = Σ_{j} ${plain ? general : `[${general}]`}`);
      for (const j of outputs) {
        const term = filled(part, { a: P(a[L][j]), y: P(y[j]), n: String(sizes[L]) });
        lines.push(`${j === 0 ? "=" : "+"} ${plain || single ? term : `[${term}]`}`);
      }
    }
    lines.push(`= ${N(cost)}`);
    return {
      title: "The cost C of this example",
      meaning:
        "How far the outputs are from what they should be, as one number: the smaller the " +
        `better (${function_} cost).`,
      lines,
      note,
      tables: [
        {
          caption: "Outputs and targets",
          head: ["j", "a_{j}", "y_{j}"],
          rows: outputs.map((j) => ({ cells: [String(j), N(a[L][j]), N(y[j])] })),
        },
      ],
    };
  },

  dC_da(l) {
    return l === L ? outputDerivative() : passedBack(l);
  },

  delta(l) {
    const { z, da_dz, dC_da, delta } = now();
    const j = at.neuron[l];
    const { name: function_, derivative, note } = record.activations[l - 1];
    const hasProduct = !record.cost.delta_before_rounding || l < L;
    let lines;
    let factors;
    let table;
    if (softmax(l)) {
      const outputs = range(sizes[l]);
      lines = [
        `${name("δ", l, j)} = ∂C/∂z_{${j}} = Σ_{i} ∂a_{i}/∂z_{${j}} · ∂C/∂a_{i}`,
        `= ${joined(outputs.map((i) => `${P(da_dz[l][i][j])}·${P(dC_da[l][i])}`))}`,
      ];
      factors = [];
      table = {
        caption: "`∂a_{i}/∂z_{j}`, and `δ_{j}`; a row for each `z_{j}`, a column for each output `i`",
        head: ["j", ...outputs.map((i) => `∂a_{${i}}/∂z_{j}`), "δ_{j}"],
        under: ["", ...outputs.map((i) => `·${P(dC_da[l][i])}`), ""],
        rows: neuronRows(l, (m) => [...outputs.map((i) => N(da_dz[l][i][m])), N(delta[l][m])]),
      };
    } else {
      lines = [
        `${name("δ", l, j)} = ∂C/∂z_{${j}} = ∂a_{${j}}/∂z_{${j}} · ∂C/∂a_{${j}}`,
        `= σ′(${name("z", l, j)}) · ∂C/∂a_{${j}}`,
        `= ${P(da_dz[l][j])} · ${P(dC_da[l][j])}`,
      ];
      factors = [
        [
          `σ′(z_{${j}})`,
          da_dz[l][j],
          derivative === null
            ? `the slope of ${function_} at \`z = ${N(z[l][j])}\``
            : `the slope of ${function_} at this \`z\`: \`${filled(derivative, { z: P(z[l][j]) })}\``,
        ],
        [`∂C/∂a_{${j}}`, dC_da[l][j], "from the phase before"],
      ];
      table = {
        caption: `Slope, \`∂C/∂a\` and δ of each neuron \`j\` of layer ${l}`,
        head: ["j", "z_{j}", "σ′(z_{j})", "∂C/∂a_{j}", "δ_{j}"],
        rows: neuronRows(l, (i) => [N(z[l][i]), N(da_dz[l][i]), N(dC_da[l][i]), N(delta[l][i])]),
      };
    }
    lines.push(`= ${N(delta[l][j])}`);
    const rounding =
      `With the ${record.cost.name} cost δ is computed as a whole, before rounding: so it keeps ` +
      "its digits where a neuron is saturated and the product of the rounded factors would not.";
    return {
      title: `Layer ${l}: δ = ∂C/∂z`,
      meaning: softmax(l)
        ? "Each `z` of a softmax layer moves every output, so the paths through all of them add up."
        : "A nudge of `z` moves `a` by the slope of σ, and `a` moves the cost: the two factors multiply.",
      lines,
      factors,
      note: [note, hasProduct ? null : rounding].filter(Boolean).join(" "),
      tables: [table],
    };
  },

  gradient(l) {
    const { a, da_dz, dC_da, delta, gradient } = now();
    const [j, k] = at.parameter[l];
    const below = range(sizes[l - 1]);
    const bias = k === sizes[l - 1];
    const upper = softmax(l)
      ? [[name("δ", l, j), delta[l][j], `how the cost moves with \`z_{${j}}\``]]
      : [
          [`∂a_{${j}}/∂z_{${j}} = σ′(${name("z", l, j)})`, da_dz[l][j], "how its activation moves with `z`: the slope of σ"],
          [`∂C/∂${name("a", l, j)}`, dC_da[l][j], "how the cost moves with that activation"],
        ];
    const first = bias
      ? [`∂z_{${j}}/∂b_{${j}}`, 1, "a bias is added as it is"]
      : [
          `∂z_{${j}}/∂w_{${j},${k}} = ${name("a", l - 1, k)}`,
          a[l - 1][k],
          "the activation it multiplies: the less that says, the less the weight matters",
        ];
    const which = bias ? `b_{${j}}` : `w_{${j},${k}}`;
    const whole = parameterName(l, j, k);
    const lines = softmax(l)
      ? [`∂C/∂${whole} = ∂z_{${j}}/∂${which} · ${name("δ", l, j)}`]
      : [`∂C/∂${whole} = ∂z_{${j}}/∂${which} · ∂a_{${j}}/∂z_{${j}} · ∂C/∂a_{${j}}`];
    lines.push(`= ${[first, ...upper].map((factor) => P(factor[1])).join(" · ")}`);
    if (!softmax(l)) {
      lines.push(`= ${bias ? "1" : name("a", l - 1, k)} · ${name("δ", l, j)} = ${P(first[1])} · ${P(delta[l][j])}`);
    }
    lines.push(`= ${N(parameterOf(gradient, l, j, k))}`);
    return {
      title: `Layer ${l}: the gradient, ∂C/∂w and ∂C/∂b`,
      meaning:
        `How the cost of this example moves with each weight and bias of layer ${l}: the ` +
        "activation where its line begins times the δ where it ends.",
      lines,
      factors: [first, ...upper],
      tables: [
        {
          caption: `\`∂C/∂w_{j,k}\` and \`∂C/∂b_{j}\` of layer ${l}: \`δ_{j}\` of the row times \`a_{k}\` of the column`,
          head: ["j", "δ_{j}", ...below.map((i) => `∂C/∂w_{j,${i}}`), "∂C/∂b_{j}"],
          under: ["", "", ...below.map((i) => `a_{${i}} = ${N(a[l - 1][i])}`), "1"],
          rows: range(sizes[l]).map((m) => ({
            cells: [
              String(m),
              N(delta[l][m]),
              ...[...below, sizes[l - 1]].map((i) => ({
                text: N(parameterOf(gradient, l, m, i)),
                chosen: m === j && i === k,
                choose: () => chooseParameter(l, m, i),
              })),
            ],
          })),
        },
      ],
    };
  },

  update() {
    const step = now();
    const l = at.updated;
    const [j, k] = at.parameter[l];
    const value = (from) => parameterOf(from, l, j, k);
    const whole = parameterName(l, j, k);
    const rows = [];
    // In the order of the gradient vector: each layer's weights row by row, then its biases.
    const row = (layer, m, i) => ({
      chosen: layer === l && m === j && i === k,
      choose: () => chooseUpdated(layer, m, i),
      cells: [
        parameterName(layer, m, i),
        ...[before(), step.gradient, step.updated].map((from) => N(parameterOf(from, layer, m, i))),
      ],
    });
    for (let layer = 1; layer <= L; layer++) {
      for (const m of range(sizes[layer])) {
        for (const i of range(sizes[layer - 1])) rows.push(row(layer, m, i));
      }
      for (const m of range(sizes[layer])) rows.push(row(layer, m, sizes[layer - 1]));
    }
    return {
      title: "The update: a step downhill",
      meaning:
        "Every weight and bias takes a step against its derivative, η times as long: " +
        `η = ${N(record.learning_rate)}, the learning rate.`,
      lines: [
        `${whole} ← ${whole} − η · ∂C/∂${whole}`,
        `= ${N(value(before()))} − ${N(record.learning_rate)} · ${P(value(step.gradient))}`,
        `= ${N(value(step.updated))}`,
      ],
      note:
        `The cost of this example goes from ${N(step.cost)} to ${N(step.cost_after)}` +
        (record.n_examples > 1
          ? `, the mean cost of all examples from ${N(step.mean_cost)} to ${N(step.mean_cost_after)}: ` +
            "what helps one example may harm the others."
          : "."),
      tables: [
        {
          caption: `All ${plural(rows.length, "parameter")}, before and after`,
          head: ["parameter", "before", "∂C/∂w, ∂C/∂b", "after"],
          rows,
        },
      ],
    };
  },
};

function outputDerivative() {
  const { a, y, dC_da } = now();
  const j = at.neuron[L];
  const { name: function_, derivative, note } = record.cost;
  const lines = [];
  if (derivative === null) {
    lines.push(`∂C/∂${name("a", L, j)}, by the derivative given with the cost ${function_}`);
  } else {
    const names = { a: name("a", L, j), y: `y_{${j}}`, n: "n" };
    lines.push(`∂C/∂${name("a", L, j)} = ${filled(derivative, names)}`);
    lines.push(`= ${filled(derivative, { a: P(a[L][j]), y: P(y[j]), n: String(sizes[L]) })}`);
  }
  lines.push(`= ${N(dC_da[L][j])}`);
  return {
    title: `Layer ${L}: ∂C/∂a, where the way back begins`,
    meaning:
      "How the cost moves with each output. Negative: the output should grow. Positive: it " +
      "should shrink.",
    lines,
    note,
    tables: [
      {
        caption: "Outputs, targets and `∂C/∂a`",
        head: ["j", "a_{j}", "y_{j}", "∂C/∂a_{j}"],
        rows: neuronRows(L, (i) => [N(a[L][i]), N(y[i]), N(dC_da[L][i])]),
      },
    ],
  };
}

function passedBack(l) {
  const { da_dz, dC_da, delta } = now();
  const W = before().weights[l];
  const k = at.neuron[l];
  const above = range(sizes[l + 1]);
  const lines = [];
  if (!softmax(l + 1)) {
    lines.push(
      `∂C/∂${name("a", l, k)} = Σ_{j} ${name("w", l + 1, "j", k)} · σ′(${name("z", l + 1, "j")}) · ∂C/∂${name("a", l + 1, "j")}`,
    );
    for (const j of above) {
      lines.push(
        `${j === 0 ? "=" : "+"} ${P(W[j][k])} · ${P(da_dz[l + 1][j])} · ${P(dC_da[l + 1][j])}`,
      );
    }
    lines.push(`= Σ_{j} ${name("w", l + 1, "j", k)} · ${name("δ", l + 1, "j")}`);
  } else {
    lines.push(`∂C/∂${name("a", l, k)} = Σ_{j} ${name("w", l + 1, "j", k)} · ${name("δ", l + 1, "j")}`);
  }
  lines.push(`= ${joined(above.map((j) => `${P(W[j][k])}·${P(delta[l + 1][j])}`))}`);
  lines.push(`= ${N(dC_da[l][k])}`);
  return {
    title: `Layer ${l}: ∂C/∂a, passed back`,
    meaning:
      `An activation of layer ${l} moves the cost along every path, through each neuron of ` +
      `layer ${l + 1}: the paths add up.`,
    lines,
    tables: [
      {
        caption: `The weights of the lines that leave each neuron \`k\` of layer ${l}, and \`∂C/∂a_{k}\``,
        head: ["k", ...above.map((j) => `w_{${j},k}`), "∂C/∂a_{k}"],
        under: ["", ...above.map((j) => `·${P(delta[l + 1][j])}`), ""],
        rows: neuronRows(l, (i) => [...above.map((j) => N(W[j][i])), N(dC_da[l][i])]),
      },
    ],
  };
}

function parameterTable(l) {
  const W = before().weights[l - 1];
  const b = before().biases[l - 1];
  return {
    caption: `Weights and biases of layer ${l}`,
    head: ["j", ...range(sizes[l - 1]).map((k) => `w_{j,${k}}`), "b_{j}"],
    rows: W.map((row, j) => ({ cells: [String(j), ...row.map(N), N(b[j])] })),
  };
}
