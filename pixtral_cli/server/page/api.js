// Talks to the server that served this page. Knows no element of it.

const KEY = "pixtral.key";

export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export function setKey(key) {
  sessionStorage.setItem(KEY, key);
}

async function call(path, body, signal) {
  const key = sessionStorage.getItem(KEY);
  const headers = { "Content-Type": "application/json", ...(key && { Authorization: `Bearer ${key}` }) };
  const options = body ? { method: "POST", body: JSON.stringify(body) } : {};
  let response;
  try {
    response = await fetch(path, { ...options, headers, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "The server cannot be reached. Is it still running?");
  }
  if (response.ok) return response;
  const said = await response.json().catch(() => ({}));
  throw new ApiError(response.status, said.error?.message ?? `The server answered with status ${response.status}.`);
}

/** The model served: its name and its context window. */
export async function model() {
  const { data } = await (await call("/v1/models")).json();
  return { name: data[0].id, window: data[0].max_context_length };
}

/** Whether the model answers now; it may still be loading. */
export async function alive() {
  try {
    return (await fetch("/health")).ok;
  } catch {
    return false;
  }
}

/** What a picture costs: `{width, height, tokens}`. */
export async function measure(url) {
  const body = { messages: [{ role: "user", content: [{ type: "image_url", image_url: { url } }] }] };
  return (await (await call("/v1/measure", body)).json()).images[0];
}

/** The answer to a conversation: yields pieces of text and at the end an object with `usage`, `timings` and `finish_reason`. */
export async function* ask(messages, signal) {
  const body = { messages, stream: true, stream_options: { include_usage: true } };
  const response = await call("/v1/chat/completions", body, signal);
  const last = {};
  for await (const event of events(response.body)) {
    if (event.error) throw new ApiError(500, event.error.message);
    const choice = event.choices?.[0];
    if (choice?.delta?.content) yield choice.delta.content;
    if (choice?.finish_reason) last.finish_reason = choice.finish_reason;
    if (event.usage) last.usage = event.usage;
    if (event.timings) last.timings = event.timings;
  }
  if (!last.finish_reason) throw new ApiError(0, "The server broke off in the middle of the answer.");
  yield last;
}

async function* events(stream) {
  let rest = "";
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (let read; !(read = await reader.read()).done; ) {
      const lines = (rest + read.value).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        if (line.startsWith("data: ") && line !== "data: [DONE]") yield JSON.parse(line.slice(6));
      }
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}
