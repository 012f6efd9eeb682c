// Where TeX stands in Markdown: \( \), \[ \], $$ $$ and, where it cannot be money, $ $. Leaves typesetting to math.

const WORDS = /[a-z]{4,}/i;
const SIGNS = /[\\^_{}=<>+\-*/|\d]/;
const DOLLARS = /^\$(?![\s$\d])((?:\\[^\n]|[^\\$\n])*[^\s\\$])\$(?![\w$])/; // "$5 and $10" is money, "$HOME:$PATH" a shell's
const FIGURES = /^\$(?=\d[^$\n]*[\\^_=])((?:\\[^\n]|[^\\$\n])*[^\s\\$])\$(?![\w$])/;

/** Whether brackets hold a formula, and not a remark such as \[citation needed\]. */
const isFormula = (tex) => /\S/.test(tex) && (SIGNS.test(tex) || !WORDS.test(tex));

const token = (raw, tex, display) => ({ type: "math", raw, tex: tex.trim(), display });

const block = {
  name: "mathBlock",
  level: "block",
  start: (source) => /\n {0,3}(?:\\\[|\$\$)/.exec(source)?.index,
  tokenizer(source) {
    const match = /^ {0,3}(?:\\\[([\s\S]+?)\\\]|\$\$([\s\S]+?)\$\$)[ \t]*(?:\n+|$)/.exec(source);
    const tex = match?.[1] ?? match?.[2];
    return tex && isFormula(tex) ? token(match[0], tex, true) : undefined;
  },
};

const inline = {
  name: "mathInline",
  level: "inline",
  start: (source) => /\\[([]|\$/.exec(source)?.index,
  tokenizer(source) {
    const shown = /^\\\[((?:[^\\]|\\(?!\]))+)\\\](?!\()/.exec(source) ?? /^\$\$([^$]+)\$\$/.exec(source);
    if (shown && isFormula(shown[1])) return token(shown[0], shown[1], true);
    const within = /^\\\(((?:[^\\]|\\(?!\)))+)\\\)/.exec(source) ?? FIGURES.exec(source) ?? DOLLARS.exec(source);
    if (!within || !isFormula(within[1])) return undefined;
    if (within[0][0] === "$" && within[1].length > 2 && !/[\\^_={}<>+]/.test(within[1])) return undefined;
    return token(within[0], within[1], false);
  },
};

export const mathExtensions = [block, inline];
