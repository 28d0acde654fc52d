// Going on and back: the buttons, the keys, the address.

const LEGEND = {
  gradient: (l) => `Lines of layer ${l}: ∂C/∂w; the other lines: the weights w.`,
  update: () => "Lines: the new weights w. In the neurons: the new biases b.",
};

function show() {
  const { kind, layer } = phaseNow();
  const step = now();
  const parts = told[kind](layer);
  element("where").textContent =
    `Step ${at.step + 1} of ${record.steps.length}, phase ${at.phase + 1} of ${phases.length}. ` +
    `Example ${step.example + 1} of ${record.n_examples}. ` +
    (record.n_examples > 1
      ? `Mean cost of all examples before this step: ${shown(step.mean_cost)}`
      : `Cost before this step: ${shown(step.mean_cost)}`);
  element("phase").textContent = parts.title;
  const meaning = element("meaning");
  meaning.replaceChildren();
  prose(parts.meaning, meaning);
  showFormula(parts);
  showTables(parts.tables);
  showLegend((LEGEND[kind] ?? (() => "Lines: the weights w."))(layer));
  draw();
  const buttons = element("phases").querySelectorAll("button");
  buttons.forEach((button, i) => {
    if (i === at.phase) button.setAttribute("aria-current", "step");
    else button.removeAttribute("aria-current");
    button.classList.toggle("done", i < at.phase);
  });
  const list = element("phases");
  list.scrollLeft = buttons[at.phase].offsetLeft - list.clientWidth / 2;
  const first = at.step === 0 && at.phase === 0;
  allow("restart", !first);
  allow("back", !first);
  allow("step", !atEnd());
  allow("play", !atEnd());
  allow("next", at.step + 1 < record.steps.length);
  const result = document.getElementById("result");
  element("live").textContent =
    `Step ${at.step + 1}, phase ${at.phase + 1} of ${phases.length}. ${parts.title}.` +
    (result ? ` ${element("formula").querySelector("p").textContent.split(" = ")[0]} ${result.textContent}` : "");
}

function showLegend(lines) {
  const legend = element("legend");
  legend.replaceChildren(`${lines} `);
  for (const [sign, meaning] of [
    ["positive", "positive: whole line"],
    ["negative", "negative: dashed"],
  ]) {
    make("span", { class: `sample ${sign}` }, legend);
    legend.append(` ${meaning} `);
  }
  legend.append("· the wider, the larger");
}

// Not disabled: a button that loses the focus would throw the keyboard back to the top.
function allow(id, possible) {
  element(id).setAttribute("aria-disabled", String(!possible));
}

const atEnd = () => at.step === record.steps.length - 1 && at.phase === phases.length - 1;

function go(step, phase) {
  at.step = Math.min(Math.max(step, 0), record.steps.length - 1);
  at.phase = Math.min(Math.max(phase, 0), phases.length - 1);
  show();
}

function forward() {
  if (atEnd()) return;
  if (at.phase + 1 < phases.length) go(at.step, at.phase + 1);
  else go(at.step + 1, 0);
}

function back() {
  if (at.phase > 0) go(at.step, at.phase - 1);
  else if (at.step > 0) go(at.step - 1, phases.length - 1);
}

let timer = null;

function pause() {
  clearInterval(timer);
  timer = null;
  element("play").textContent = "Play";
  // While it plays, a screen reader would be talked over.
  element("live").setAttribute("aria-live", "polite");
}

function play() {
  if (timer !== null || atEnd()) return pause();
  element("play").textContent = "Pause";
  element("live").setAttribute("aria-live", "off");
  timer = setInterval(() => {
    forward();
    if (atEnd()) pause();
  }, Number(element("pace").value));
}

// #step=7&phase=3 opens the page there.
function followAddress() {
  const asked = new URLSearchParams(location.hash.slice(1));
  const number = (key) => (/^\d{1,9}$/.test(asked.get(key) ?? "") ? Number(asked.get(key)) : 1);
  go(number("step") - 1, number("phase") - 1);
}

const actions = {
  restart: () => go(0, 0),
  back,
  step: forward,
  next: () => {
    if (at.step + 1 < record.steps.length) go(at.step + 1, 0);
  },
};
for (const [id, action] of Object.entries(actions)) {
  element(id).addEventListener("click", () => {
    pause();
    action();
  });
}
element("play").addEventListener("click", play);
element("pace").addEventListener("change", () => {
  if (timer !== null) {
    pause();
    play();
  }
});
element("digits").addEventListener("change", () => {
  digits = element("digits").value;
  show();
});
document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (event.target.closest("select, .scroll")) return;
  const action = { ArrowRight: forward, ArrowLeft: back }[event.key];
  if (!action) return;
  event.preventDefault();
  pause();
  action();
});
phases.forEach((phase, i) => {
  if (i === 1) make("li", {}, element("phases"), "forward:");
  if (phase.kind === "dC_da" && phase.layer === L) make("li", {}, element("phases"), "back:");
  const button = make("button", { type: "button" }, make("li", {}, element("phases")));
  math(phase.label, button);
  button.addEventListener("click", () => {
    pause();
    go(at.step, i);
  });
});
let drawnWidth = 0;
new ResizeObserver(([entry]) => {
  if (entry.contentRect.width === drawnWidth) return;
  drawnWidth = entry.contentRect.width;
  draw();
}).observe(element("network").parentElement);
addEventListener("hashchange", () => {
  pause();
  followAddress();
});
element("about").textContent =
  `A ${sizes.join("-")} network (${[...new Set(record.activations.map((one) => one.name))].join(", ")}; ` +
  `${record.cost.name} cost; ${record.dtype}) learns by gradient descent, one example a step, with ` +
  `the learning rate η = ${shown(record.learning_rate, "all")}.`;
followAddress();
