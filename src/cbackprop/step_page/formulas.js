// Numbers as text, and formulas as elements.

let digits = "4";

function shown(value, places = digits) {
  const number = Number(value);
  const text = places === "all" ? String(number) : String(Number(number.toPrecision(places)));
  return text.replace("Infinity", "∞").replaceAll("-", "−");
}

// In the picture: six characters, as many digits as these hold.
function brief(value) {
  const number = Number(value);
  if (!Number.isFinite(number)) return shown(value);
  const power = (places) => number.toExponential(places).replace("e+", "e").replaceAll("-", "−");
  const tries = [shown(number, 3), shown(number, 2), power(1), shown(number, 1), power(0)];
  return tries.find((text) => text.length <= 6) ?? power(0);
}

// Numbers inside formulas stand in ⟦ ⟧; where a minus sign would follow an operator, in brackets.
const N = (value) => `⟦${shown(value)}⟧`;
const P = (value) => (Number(value) < 0 ? `(${N(value)})` : N(value));

// Letters become italic, _{…} lowered, ^{…} raised, ⟦…⟧ a number in the colour of its sign.
function math(text, parent) {
  const token =
    /_\{([^{}]*)\}\^\{([^{}]*)\}|([_^])\{([^{}]*)\}|⟦([^⟦⟧]*)⟧|([A-Za-z]+)|[^A-Za-z_^⟦]+|[_^⟦]/g;
  for (const part of text.matchAll(token)) {
    const [whole, low, high, mark, inner, number, word] = part;
    if (low !== undefined) {
      const stack = make("span", { class: "stack" }, parent);
      math(high, make("sup", {}, stack));
      math(low, make("sub", {}, stack));
    } else if (mark !== undefined) {
      math(inner, make(mark === "^" ? "sup" : "sub", {}, parent));
    } else if (number !== undefined) {
      make("span", { class: number.startsWith("−") ? "number negative" : "number" }, parent, number);
    } else if (word !== undefined && word.length === 1) {
      make("var", {}, parent, word);
    } else {
      parent.append(whole);
    }
  }
  return parent;
}

// Sentences: what stands between two ` is a formula; numbers are marked everywhere.
function prose(text, parent) {
  text.split("`").forEach((part, i) => {
    if (i % 2 === 1) return math(part, parent);
    part.split(/[⟦⟧]/).forEach((piece, m) => {
      if (m % 2 === 1) math(`⟦${piece}⟧`, parent);
      else parent.append(piece);
    });
  });
  return parent;
}

// Letters of a formula replaced: by numbers or by names with their indices.
const filled = (formula, values) => formula.replace(/\b[zayn]\b/g, (letter) => values[letter]);

function make(name, attributes, parent, text) {
  const svg = parent && parent.namespaceURI === element("network").namespaceURI;
  const made = svg
    ? document.createElementNS(element("network").namespaceURI, name)
    : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}
