// The network as a picture.

// What stands in neuron j of layer l: the last thing that was computed for it.
function neuronShown(l, j) {
  const { z, a, dC_da, delta, updated } = now();
  const { kind } = phaseNow();
  if (kind === "update") return l === 0 ? null : ["b", updated.biases[l - 1][j]];
  if (l === 0) return ["a", a[0][j]];
  if (at.phase >= placeOf("delta", l)) return ["δ", delta[l][j]];
  if (at.phase >= placeOf("dC_da", l)) return ["∂C/∂a", dC_da[l][j]];
  if (at.phase >= placeOf("a", l)) return ["a", a[l][j]];
  if (at.phase >= placeOf("z", l)) return ["z", z[l][j]];
  return null;
}

// The numbers that the lines into layer l stand for, and whether this phase is about them.
function linesShown(l) {
  const { kind, layer } = phaseNow();
  if (kind === "update") return { W: now().updated.weights[l - 1], active: true };
  if (kind === "gradient" && layer === l) return { W: now().gradient.weights[l - 1], active: true };
  const active =
    kind === "example" ||
    (kind === "z" && layer === l) ||
    (kind === "dC_da" && layer === l - 1);
  return { W: before().weights[l - 1], active };
}

// Whether the line from neuron k to neuron j of layer l belongs to what is selected.
function lineChosen(l, j, k) {
  const { kind, layer } = phaseNow();
  if (kind === "z") return layer === l && at.neuron[l] === j;
  if (kind === "dC_da") return layer === l - 1 && at.neuron[l - 1] === k;
  const [chosenJ, chosenK] = at.parameter[l];
  if (kind === "gradient") return layer === l && chosenJ === j && chosenK === k;
  return kind === "update" && at.updated === l && chosenJ === j && chosenK === k;
}

const choosesNeurons = () => ["z", "a", "dC_da", "delta"].includes(phaseNow().kind);
const choosesParameters = () => ["gradient", "update"].includes(phaseNow().kind);
const inPlay = (l) => phaseNow().kind === "update" || phaseNow().layer === l;

function neuronChosen(l, j) {
  const { kind, layer } = phaseNow();
  if (choosesNeurons()) return layer === l && at.neuron[l] === j;
  if (!choosesParameters() || !inPlay(l) || (kind === "update" && at.updated !== l)) return false;
  const [chosenJ, chosenK] = at.parameter[l];
  return l > 0 && chosenJ === j && chosenK === sizes[l - 1];
}

// Up to this many neurons in every layer there is room for a second number at each.
const ROOMY = 6;

const signOf = (value) => (Number(value) < 0 ? "negative" : "positive");

let drawnPlace = "";

function draw() {
  const svg = element("network");
  const hadFocus = svg.contains(document.activeElement);
  svg.replaceChildren();
  const tallest = Math.max(...sizes);
  const radius = tallest <= ROOMY ? 27 : 24;
  const row = tallest <= ROOMY ? 98 : 78;
  const top = 48;
  const height = top + tallest * row;
  const left = radius + 6;
  const costWidth = 58;
  const room = svg.parentElement.clientWidth - left - radius - 24 - costWidth - 6;
  const gap = Math.min(220, Math.max(100, room / L));
  const x = (l) => left + l * gap;
  const y = (l, j) => top + (tallest * row) / 2 + (j - (sizes[l] - 1) / 2) * row - 6;
  const costX = x(L) + radius + 24;
  const width = costX + costWidth + 6;
  svg.setAttribute("width", width);
  svg.setAttribute("height", height);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const radios = choosesNeurons() || choosesParameters();
  svg.setAttribute("role", radios ? "radiogroup" : "img");
  svg.setAttribute(
    "aria-label",
    !radios
      ? "The network; its values are in the table below"
      : choosesNeurons()
        ? `Neuron of layer ${phaseNow().layer} to look at`
        : "Weight or bias to look at",
  );

  for (let l = 0; l <= L; l++) {
    const heading = make("text", { x: x(l), y: 14, class: "heading" }, svg);
    heading.textContent = l === 0 ? "input" : l === L && L > 1 ? "output" : `layer ${l}`;
    if (l > 0) {
      const activation = record.activations[l - 1].name;
      const short = activation.length > 14 ? `${activation.slice(0, 13)}…` : activation;
      make("text", { x: x(l), y: 29, class: "heading faint" }, svg, l === L && L > 1 ? `layer ${l}, ${short}`.slice(0, 26) : short);
    }
  }

  const labels = [];
  for (let l = 1; l <= L; l++) {
    const { W, active } = linesShown(l);
    const sizesOfLines = W.flat().map((value) => Math.abs(Number(value))).filter(Number.isFinite);
    const largest = Math.max(...sizesOfLines) || 1;
    const canChoose = choosesParameters() && inPlay(l);
    for (const j of range(sizes[l])) {
      for (const k of range(sizes[l - 1])) {
        const value = Number(W[j][k]);
        const ends = { x1: x(l - 1) + radius, y1: y(l - 1, k), x2: x(l) - radius, y2: y(l, j) };
        const chosen = lineChosen(l, j, k);
        const rests = !active || (choosesNeurons() && !chosen && tallest > ROOMY);
        const line = make("g", { class: `line${rests ? " resting" : ""}` }, svg);
        const thickness = 1 + 4.5 * Math.min(1, Math.abs(value) / largest || 0);
        if (chosen) make("line", { ...ends, class: "ring", "stroke-width": thickness + 5 }, line);
        make("line", { ...ends, class: signOf(value), "stroke-width": thickness }, line);
        if (canChoose) {
          make("line", { ...ends, class: "touch" }, line);
          const what = `weight from neuron ${k} of layer ${l - 1} to neuron ${j} of layer ${l}`;
          radio(line, chosen, what, l, j, k);
        }
        if (chosen) {
          // Near the end where the lines lie apart.
          const { kind } = phaseNow();
          const part = kind === "z" ? 0.38 : kind === "dC_da" ? 0.62 : 0.5;
          labels.push([
            ends.x1 + part * (ends.x2 - ends.x1),
            ends.y1 + part * (ends.y2 - ends.y1),
            brief(value),
          ]);
        }
      }
    }
  }

  for (const j of range(sizes[L])) {
    make("line", { x1: x(L) + radius, y1: y(L, j), x2: costX, y2: top + (tallest * row) / 2 - 6, class: "to-cost" }, svg);
  }
  for (let l = 0; l <= L; l++) for (const j of range(sizes[l])) drawNeuron(svg, l, j, x(l), y(l, j), radius);
  drawCost(svg, costX, top + (tallest * row) / 2 - 6, costWidth);
  for (const [labelX, labelY, text] of labels) {
    make("text", { x: labelX, y: labelY + 4, class: "on-line" }, svg, text);
  }

  // On a narrow screen the layer that the phase is about comes into view.
  const place = `${at.step} ${at.phase}`;
  if (place !== drawnPlace) svg.parentElement.scrollLeft = x(phaseNow().layer) - svg.parentElement.clientWidth / 2;
  drawnPlace = place;

  if (hadFocus) svg.querySelector('[aria-checked="true"]')?.focus();
}

function drawNeuron(svg, l, j, x, y, radius) {
  const group = make("g", { class: "neuron" }, svg);
  const value = neuronShown(l, j);
  const chosen = neuronChosen(l, j);
  const { kind } = phaseNow();
  const neurons = choosesNeurons() && inPlay(l);
  const biases = choosesParameters() && inPlay(l) && l > 0;
  if (chosen) make("circle", { cx: x, cy: y, r: radius + 4, class: "ring" }, group);
  const circle = make("circle", { cx: x, cy: y, r: radius, class: value ? signOf(value[1]) : "empty" }, group);
  if (value) {
    const tint = Math.min(1, Math.abs(Number(value[1]))) || 0;
    circle.style.setProperty("--tint", `${Math.round(4 + 30 * tint)}%`);
    make("text", { x, y: y + 4, class: "value" }, group, brief(value[1]));
  }
  if (value) label(make("text", { x, y: y - radius - 10, class: "name" }, group), value[0], j);
  const under = Math.max(...sizes) <= ROOMY ? underNeuron(l, j) : null;
  if (under) {
    const text = make("text", { x, y: y + radius + 17, class: "name" }, group);
    label(text, under[0], j);
    make("tspan", { dy: -3 }, text, ` = ${brief(under[1])}`);
    // Lines to the next layer run behind it.
    const { x: left, y: top, width, height } = text.getBBox();
    text.before(make("rect", { x: left, y: top, width, height, class: "behind" }, group));
  }
  if (neurons) radio(group, chosen, `neuron ${j} of layer ${l}`, l, j, null);
  if (biases) radio(group, chosen, `bias of neuron ${j} of layer ${l}`, l, j, sizes[l - 1]);
  if (kind === "update" && l === 0) group.classList.add("resting");
}

// Below a neuron: its bias where that plays a part, else the target of an output.
function underNeuron(l, j) {
  const { kind, layer } = phaseNow();
  if (l > 0 && kind === "z" && layer === l) return ["b", before().biases[l - 1][j]];
  if (l > 0 && kind === "gradient" && layer === l) return ["∂C/∂b", now().gradient.biases[l - 1][j]];
  return l === L && kind !== "update" ? ["y", now().y[j]] : null;
}

function drawCost(svg, x, y, width) {
  const { cost, cost_after: after } = now();
  const value = phaseNow().kind === "update" ? after : at.phase >= placeOf("cost", L) ? cost : null;
  const group = make("g", { class: `cost${phaseNow().kind === "cost" ? " chosen" : ""}` }, svg);
  make("rect", { x, y: y - 18, width, height: 36, rx: 6 }, group);
  make("text", { x: x + width / 2, y: y - 25, class: "name" }, group, "cost C");
  if (value !== null) make("text", { x: x + width / 2, y: y + 5, class: "value" }, group, brief(value));
}

function label(text, letter, index) {
  make("tspan", {}, text, letter);
  make("tspan", { dy: 3, class: "index" }, text, String(index));
}
