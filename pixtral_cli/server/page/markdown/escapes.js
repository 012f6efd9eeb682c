// Which backslashes are Markdown's: those before a character that would otherwise style something. The others are text.

const BLOCK = /^\s*(?:\\#{1,6}(?=\s|$)|\\>|\\[-+*](?=\s|$)|\\(?:`{3}|~{3})|\d{1,9}\\[.)](?=\s|$))/;
const SPANS = { em: 1, strong: 2, del: 2 };

/** Turn each needless escape in a token's inline content into text that keeps its backslash. */
export function keepNeedlessBackslashes(holder, marked) {
  const escapes = [];
  collect(holder.tokens, 0, escapes);
  if (!escapes.length) return;
  const source = holder.tokens.map(({ raw }) => raw).join("");
  const places = new Set(escapes.map(({ at }) => at));
  const plain = source.split("").filter((_, index) => !places.has(index)).join("");
  const markup = new Uint8Array(plain.length);
  mark(marked.Lexer.lexInline(plain, marked.defaults), 0, markup);
  escapes.forEach(({ token, at }, before) => {
    const lineStart = source.lastIndexOf("\n", at) + 1;
    const opensBlock = BLOCK.exec(source.slice(lineStart))?.[0].length > at - lineStart;
    if (token.text !== "\\" && (opensBlock || markup[at - before])) return;
    token.type = "text";
    token.text = token.raw;
  });
}

function collect(tokens, at, escapes) {
  for (const token of tokens) {
    if (token.type === "escape") escapes.push({ token, at });
    else if (token.type in SPANS) collect(token.tokens, at + SPANS[token.type], escapes);
    else if (token.type === "link" && !token.autolink) collect(token.tokens, at + 1, escapes);
    at += token.raw.length;
  }
}

/** Set `markup` where a character of the source is a delimiter. */
function mark(tokens, at, markup) {
  for (const token of tokens) {
    const end = at + token.raw.length;
    if (token.type in SPANS) {
      const width = SPANS[token.type];
      markup.fill(1, at, at + width).fill(1, end - width, end);
      mark(token.tokens, at + width, markup);
    } else if (token.type === "codespan") {
      const width = /^`+/.exec(token.raw)[0].length;
      markup.fill(1, at, at + width).fill(1, end - width, end);
    } else if (token.type === "link" && !token.autolink) {
      const width = token.tokens.reduce((sum, { raw }) => sum + raw.length, 0);
      markup.fill(1, at, at + 1).fill(1, at + 1 + width, end);
      mark(token.tokens, at + 1, markup);
    } else if (token.type === "image") markup.fill(1, at, end);
    at = end;
  }
}
