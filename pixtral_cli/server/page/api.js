// Requests to the server that served this page. Does not use the document.

const KEY = "pixtral.key";

export class ApiError extends Error {
  constructor(status, message, code = null, param = null) {
    super(message);
    this.status = status;
    this.code = code;
    this.param = param;
  }
}

let key = null;
try {
  key = sessionStorage.getItem(KEY);
} catch {
  // no session storage: the key is asked for after each reload
}

export function setKey(value) {
  key = value;
  try {
    sessionStorage.setItem(KEY, value);
  } catch {
    // no session storage: the key is lost when the page is closed
  }
}

async function call(path, body, signal) {
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
  const { error = {} } = await response.json().catch(() => ({}));
  throw new ApiError(response.status, error.message ?? `The server answered with status ${response.status}.`, error.code, error.param);
}

/** The served models as `{name, window}`; the first is the default. `window`: tokens, or null. */
export async function models() {
  const { data } = await (await call("/v1/models")).json();
  return data.map(({ id, max_context_length }) => ({ name: id, window: max_context_length }));
}

/** Whether the model is loaded and answers. */
export async function alive() {
  try {
    return (await fetch("/health")).ok;
  } catch {
    return false;
  }
}

/** The size and tokens of a picture as `{width, height, tokens}`; the tokens are those of all pages of a document. */
export async function measure(url, signal) {
  const body = { messages: [{ role: "user", content: [{ type: "image_url", image_url: { url } }] }] };
  const { images } = await (await call("/v1/measure", body, signal)).json();
  return { ...images[0], tokens: images.reduce((sum, { tokens }) => sum + tokens, 0) };
}

/**
 * Answer `request` (messages and sampling): yields pieces of text, `{reasoning}` for pieces of reasoning, and at the end
 * `{usage, timings, finish_reason}`. Throws ApiError.
 */
export async function* ask(request, signal) {
  const body = { ...request, stream: true, stream_options: { include_usage: true } };
  const response = await call("/v1/chat/completions", body, signal);
  const end = {};
  for await (const event of events(response.body)) {
    if (event.error) throw new ApiError(500, event.error.message, event.error.code);
    const choice = event.choices?.[0];
    if (choice?.delta?.reasoning_content) yield { reasoning: choice.delta.reasoning_content };
    if (choice?.delta?.content) yield choice.delta.content;
    if (choice?.finish_reason) end.finish_reason = choice.finish_reason;
    if (event.usage) end.usage = event.usage;
    if (event.timings) end.timings = event.timings;
  }
  if (!end.finish_reason) throw new ApiError(0, "The server broke off in the middle of the answer.");
  yield end;
}

async function* events(stream) {
  let rest = "";
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { done, value } = await read(reader);
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        if (line.startsWith("data: ") && line !== "data: [DONE]") yield JSON.parse(line.slice(6));
      }
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

async function read(reader) {
  try {
    return await reader.read();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "The connection to the server broke off in the middle of the answer.");
  }
}
