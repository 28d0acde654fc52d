"use strict";
// The record of all steps, and where in it the reader is. The page shows its numbers and computes
// none: they are formatted and drawn, no more.

const record = JSON.parse(document.getElementById("record").textContent);
const sizes = record.sizes;
const L = sizes.length - 1;
const element = (id) => document.getElementById(id);

// ---- the phases of a step --------------------------------------------------------------------

const phases = [{ kind: "example", layer: 0, label: "x" }];
for (let l = 1; l <= L; l++) {
  phases.push({ kind: "z", layer: l, label: `z^{(${l})}` });
  phases.push({ kind: "a", layer: l, label: `a^{(${l})}` });
}
phases.push({ kind: "cost", layer: L, label: "C" });
for (let l = L; l >= 1; l--) {
  phases.push({ kind: "dC_da", layer: l, label: `∂C/∂a^{(${l})}` });
  phases.push({ kind: "delta", layer: l, label: `δ^{(${l})}` });
  phases.push({ kind: "gradient", layer: l, label: `∂C/∂w^{(${l})}` });
}
phases.push({ kind: "update", layer: L, label: "w ← w − η ∂C/∂w" });

const placeOf = (kind, layer) =>
  phases.findIndex((phase) => phase.kind === kind && phase.layer === layer);

// Where the reader is, and which neuron and which parameter of each layer is looked at; the
// parameter k = sizes[l - 1] of a neuron is its bias.
const at = {
  step: 0,
  phase: 0,
  neuron: sizes.map(() => 0),
  parameter: sizes.map(() => [0, 0]),
  updated: L,
};

const now = () => record.steps[at.step];
const phaseNow = () => phases[at.phase];
const before = () => (at.step === 0 ? record.parameters : record.steps[at.step - 1].updated);
const softmax = (l) => record.activations[l - 1].softmax;
const range = (n) => Array.from({ length: n }, (_, i) => i);
