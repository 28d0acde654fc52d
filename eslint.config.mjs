// The page of stepper_html: its files are joined into one script, so that is what is judged.
// Nothing is imported but what Node itself has: `npx eslint@VERSION` needs no package.json.

import { readFileSync, readdirSync } from "node:fs";
import { basename, join } from "node:path";

const folder = join(import.meta.dirname, "src/cbackprop/step_page");
// The first of SCRIPTS in stepper.py; in what order the others come is all the same here.
const FIRST = "record.js";
const others = readdirSync(folder).filter((name) => name.endsWith(".js") && name !== FIRST);
const scripts = [FIRST, ...others];

const joined = {
  meta: { name: "joined" },
  preprocess: (text, path) =>
    basename(path) === FIRST
      ? [scripts.map((name) => readFileSync(join(folder, name), "utf8")).join("")]
      : [],
  // Messages name the line of the file that it stands in.
  postprocess: (messages) =>
    messages.flat().map((message) => {
      let line = message.line;
      for (const name of scripts) {
        const lines = readFileSync(join(folder, name), "utf8").split("\n").length - 1;
        if (line <= lines) {
          return { ...message, line, message: `${name}:${line}: ${message.message}` };
        }
        line -= lines;
      }
      return message;
    }),
};

const browser = [
  ...["addEventListener", "clearInterval", "document", "location", "ResizeObserver", "setInterval"],
  "URLSearchParams",
];

export default [
  {
    files: ["src/cbackprop/step_page/*.js"],
    plugins: { page: { processors: { joined } } },
    processor: "page/joined",
    linterOptions: { reportUnusedDisableDirectives: "error" },
    languageOptions: {
      ecmaVersion: 2022, // what browsers of the last years run as it is
      sourceType: "script",
      globals: Object.fromEntries(browser.map((name) => [name, "readonly"])),
    },
    rules: {
      // What is wrong: names, duplicates, code that cannot be reached or does nothing.
      "array-callback-return": "error",
      "constructor-super": "error",
      "for-direction": "error",
      "getter-return": "error",
      "no-class-assign": "error",
      "no-compare-neg-zero": "error",
      "no-cond-assign": "error",
      "no-const-assign": "error",
      "no-constant-binary-expression": "error",
      "no-constant-condition": "error",
      "no-dupe-args": "error",
      "no-dupe-else-if": "error",
      "no-dupe-keys": "error",
      "no-duplicate-case": "error",
      "no-empty": "error",
      "no-empty-character-class": "error",
      "no-empty-pattern": "error",
      "no-fallthrough": "error",
      "no-func-assign": "error",
      "no-global-assign": "error",
      "no-invalid-regexp": "error",
      "no-irregular-whitespace": "error",
      "no-loss-of-precision": "error",
      "no-misleading-character-class": "error",
      "no-redeclare": "error",
      "no-self-assign": "error",
      "no-self-compare": "error",
      "no-shadow-restricted-names": "error",
      "no-sparse-arrays": "error",
      "no-undef": "error",
      "no-unexpected-multiline": "error",
      "no-unreachable": "error",
      "no-unreachable-loop": "error",
      "no-unsafe-finally": "error",
      "no-unsafe-negation": "error",
      "no-unsafe-optional-chaining": "error",
      "no-unused-expressions": "error",
      "no-unused-vars": "error",
      "no-useless-assignment": "error",
      "no-useless-backreference": "error",
      "no-useless-catch": "error",
      "no-useless-escape": "error",
      "use-isnan": "error",
      "valid-typeof": "error",
      // What is the house's: one way of writing, nothing that runs text as code.
      curly: ["error", "multi-line"],
      eqeqeq: "error",
      "no-eval": "error",
      "no-implied-eval": "error",
      "no-new-func": "error",
      "no-shadow": "error",
      "no-throw-literal": "error",
      "no-var": "error",
      "object-shorthand": "error",
      "prefer-const": "error",
      strict: ["error", "global"],
    },
  },
];
