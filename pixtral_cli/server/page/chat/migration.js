// Converts conversations of store versions before 3, lists of messages with their pictures, to trees of messages.

/** The row of an old conversation. */
export function conversationOf({ id, title, changed, messages }) {
  return { id, title, changed, leaf: messages.length ? `${id}-${messages.length - 1}` : null };
}

/** Its messages, each the parent of the next. The identifiers are the same whenever it is converted. */
export function messagesOf({ id, changed, messages }) {
  return messages.map((message, place) => {
    const { role, text = "", pictures = [], error, interrupted, cut, ...rest } = message;
    const state = error ? "error" : interrupted ? "stopped" : cut ? "cut" : "done";
    const shown = pictures.map((picture, number) => ({ type: "picture", id: `${id}-${place}-${number}`, ...picture }));
    return {
      ...rest,
      id: `${id}-${place}`,
      conversation: id,
      parent: place ? `${id}-${place - 1}` : null,
      role,
      parts: [...shown, ...(text || role === "assistant" ? [{ type: "text", text }] : [])],
      created: changed - messages.length + place,
      ...(role === "assistant" && { state, ...(error && { error }) }),
    };
  });
}
