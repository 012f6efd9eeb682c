// A conversation as a tree of messages: each has the id of its parent, and other versions are siblings. Pure functions on a Map from id to
// {id, parent, role, parts, created, …}.

const byAge = (a, b) => a.created - b.created || (a.id < b.id ? -1 : 1);

/** The children of `parent` (null: the first messages of the conversation), the oldest first. */
export function children(nodes, parent) {
  return [...nodes.values()].filter((node) => (node.parent ?? null) === parent).sort(byAge);
}

/** The messages from the first to `leaf`. */
export function pathTo(nodes, leaf) {
  const path = [];
  const seen = new Set();
  for (let node = nodes.get(leaf); node && !seen.has(node.id); node = nodes.get(node.parent)) {
    seen.add(node.id);
    path.unshift(node);
  }
  return path;
}

/** The end of the newest branch that goes through `id` (null: of the whole tree). */
export function newestLeaf(nodes, id = null) {
  const newest = new Map(); // parent → its newest child
  for (const node of [...nodes.values()].sort(byAge)) newest.set(node.parent ?? null, node.id);
  const seen = new Set();
  while (newest.has(id) && !seen.has(id)) {
    seen.add(id);
    id = newest.get(id);
  }
  return id;
}

/** The versions of a message, as `{all, place}`; `place` is its index. */
export function versions(nodes, id) {
  const all = children(nodes, nodes.get(id)?.parent ?? null);
  return { all, place: all.findIndex((node) => node.id === id) };
}

/** The text of a message. */
export const textOf = (message) => message.parts.filter(({ type }) => type === "text").map(({ text }) => text).join("");

/** The number of characters of a message's text and reasoning. */
export const lengthOf = (message) => textOf(message).length + (message.reasoning ?? "").length;

export const picturesOf = (message) => message.parts.filter(({ type }) => type === "picture");
