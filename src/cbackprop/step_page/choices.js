// Choosing the neuron, weight or bias that is explained.

function radio(group, chosen, what, l, j, k) {
  group.setAttribute("role", "radio");
  group.setAttribute("aria-checked", String(chosen));
  group.setAttribute("aria-label", what);
  group.setAttribute("tabindex", chosen ? "0" : "-1");
  group.classList.add("choosable");
  const choose = () => {
    if (k === null) chooseNeuron(l, j);
    else if (phaseNow().kind === "update") chooseUpdated(l, j, k);
    else chooseParameter(l, j, k);
  };
  group.addEventListener("click", () => {
    group.focus();
    choose();
  });
  group.addEventListener("keydown", (event) => {
    if (event.key === " " || event.key === "Enter") choose();
    else if (!move(event.key, l, j, k)) return;
    event.preventDefault();
    event.stopPropagation();
  });
}

// Arrows: up and down from neuron to neuron, left and right from parameter to parameter of one.
function move(key, l, j, k) {
  const down = { ArrowDown: 1, ArrowUp: -1 }[key];
  const right = { ArrowRight: 1, ArrowLeft: -1 }[key];
  if (down === undefined && right === undefined) return false;
  if (k === null) {
    chooseNeuron(l, (j + (down ?? right) + sizes[l]) % sizes[l]);
    return true;
  }
  let nextL = l;
  let nextJ = j + (down ?? 0);
  let nextK = k + (right ?? 0);
  if (nextK < 0 || nextK > sizes[l - 1]) nextJ += right;
  const change = phaseNow().kind === "update";
  if (nextJ < 0) {
    nextL = change ? (l === 1 ? L : l - 1) : l;
    nextJ = sizes[nextL] - 1;
  } else if (nextJ >= sizes[l]) {
    nextL = change ? (l === L ? 1 : l + 1) : l;
    nextJ = 0;
  }
  if (nextK > sizes[l - 1]) nextK = 0;
  else if (nextK < 0) nextK = sizes[nextL - 1];
  nextK = Math.min(nextK, sizes[nextL - 1]);
  if (change) chooseUpdated(nextL, nextJ, nextK);
  else chooseParameter(nextL, nextJ, nextK);
  return true;
}

function chooseNeuron(l, j) {
  at.neuron[l] = j;
  show();
}

function chooseParameter(l, j, k) {
  at.parameter[l] = [j, k];
  show();
}

function chooseUpdated(l, j, k) {
  at.updated = l;
  chooseParameter(l, j, k);
}
