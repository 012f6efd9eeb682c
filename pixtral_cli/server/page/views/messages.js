// The messages of the branch that is shown: questions, answers, their tools and their versions.

import { useState } from "preact/hooks";
import { goOn, isRunning, regenerate } from "../chat/answers.js";
import { choose, current } from "../chat/conversations.js";
import * as draft from "../chat/draft.js";
import { served } from "../chat/served.js";
import { asWritten } from "../chat/settings.js";
import { picturesOf, textOf, versions } from "../chat/tree.js";
import { html, Icon, number } from "../dom.js";
import { Answer, Written } from "../markdown/answer.js";
import { CopyButton } from "../markdown/code.js";
import { openDialog } from "./dialogs.js";
import * as preview from "./panel.js";

const ENDS = {
  stopped: "Stopped.",
  interrupted: "Interrupted: the page was closed or reloaded while this was written.",
  cut: "Cut: the longest answer was reached.",
};

export function Messages() {
  const conversation = current.value;
  return html`<ol id="messages">
    ${conversation.path.value.map((id) => html`<${Message} key=${id} conversation=${conversation} id=${id} />`)}
  </ol>`;
}

function Message({ conversation, id }) {
  const message = conversation.views.get(id).value;
  return message.role === "user"
    ? html`<${Question} conversation=${conversation} message=${message} />`
    : html`<${Reply} conversation=${conversation} message=${message} />`;
}

function Question({ conversation, message }) {
  const text = textOf(message);
  const pictures = picturesOf(message);
  const edit = () => {
    draft.edit(message);
    document.getElementById("question").focus();
  };
  return html`<li class="user">
    <h2 class="visually-hidden">You</h2>
    ${pictures.length > 0 && html`<${Pictures} pictures=${pictures} />`}
    ${text && html`<div class="said">${text}</div>`}
    <div class="tools">
      <${Versions} conversation=${conversation} id=${message.id} />
      <button type="button" class="quiet" onClick=${edit}>Edit</button>
    </div>
  </li>`;
}

function Pictures({ pictures }) {
  return html`<ul class="pictures">
    ${pictures.map((picture) => html`<li key=${picture.id}><${Picture} picture=${picture} /></li>`)}
  </ul>`;
}

function Picture({ picture }) {
  const [broken, setBroken] = useState(false);
  if (broken || !picture.url) return html`<span class="file"><${Icon} name="file" />${picture.name}</span>`;
  return html`<button type="button" aria-label=${`Enlarge ${picture.name}`} onClick=${() => openDialog(picture)}>
    <img src=${picture.url} alt=${picture.name} onError=${() => setBroken(true)} />
  </button>`;
}

function Reply({ conversation, message }) {
  const writing = isRunning(message.id) || message.state === "streaming";
  const text = textOf(message);
  const [written, setWritten] = useState(null);
  const raw = written ?? asWritten.value;
  const open = (place) => preview.open(conversation, message.id, place);
  return html`<li class=${writing ? "assistant writing" : "assistant"} aria-busy=${String(writing)}>
    <h2 class="visually-hidden">${message.model ?? served.value.name}</h2>
    ${message.reasoning && html`<${Thinking} text=${message.reasoning} begun=${Boolean(text) || !writing} />`}
    <div class="said">${raw ? text && html`<${Written} text=${text} />` : html`<${Answer} text=${text} complete=${!writing} preview=${open} />`}</div>
    ${writing && !text && html`<p class="waiting"><span></span><span></span><span></span></p>`}
    ${!writing && html`<${ReplyTools} conversation=${conversation} message=${message} text=${text} raw=${raw} setRaw=${setWritten} />`}
  </li>`;
}

/** What was thought before the answer: closed, with its length; the person opens it. `begun`: the answer has begun, or ended. */
function Thinking({ text, begun }) {
  const words = text.trim().split(/\s+/).length;
  return html`<details class="thinking">
    <summary>${begun ? "Thought" : "Thinking"}, ${number(words)} ${words === 1 ? "word" : "words"}</summary>
    <div dir="auto"><${Written} text=${text.trim()} /></div>
  </details>`;
}

function ReplyTools({ conversation, message, text, raw, setRaw }) {
  const goesOn = text && (message.state in ENDS || message.state === "error");
  const note = message.error ?? ENDS[message.state] ?? "";
  return html`<div class="tools">
    <${Versions} conversation=${conversation} id=${message.id} />
    ${text && html`<${CopyButton} text=${text} />`}
    ${goesOn && html`<button type="button" class="quiet" onClick=${() => goOn(conversation, message.id)}>Go on</button>`}
    <button type="button" class="quiet" onClick=${() => regenerate(conversation, message.id)}>Regenerate</button>
    ${text && html`<button type="button" class="quiet" aria-pressed=${String(raw)} title="Show the answer without any rendering" onClick=${() => setRaw(!raw)}>As written</button>`}
    ${note && html`<span class=${message.error ? "note error" : "note"}>${note}</span>`}
    ${!note && html`<span class="note">${pace(message)}</span>`}
  </div>`;
}

function pace({ usage, timings }) {
  const count = usage?.completion_tokens;
  if (!count || !timings || (count > 1 && !(timings.decode > 0))) return "";
  if (count === 1) return `1 token, after ${timings.ttft.toFixed(1)} s`;
  const speed = Math.max(1, Math.round((count - 1) / timings.decode));
  return `${number(count)} tokens, the first after ${timings.ttft.toFixed(1)} s, then ${number(speed)} a second`;
}

/** Which of several tries is shown, and the way to the others. */
function Versions({ conversation, id }) {
  void conversation.structure.value;
  const { all, place } = versions(conversation.nodes, id);
  if (all.length < 2) return null;
  const go = (by) => choose(conversation, all[place + by].id);
  return html`<span class="versions" role="group" aria-label="Versions">
    <button type="button" class="quiet" aria-label="Earlier version" disabled=${place === 0} onClick=${() => go(-1)}><${Icon} name="left" /></button>
    <span>${place + 1}/${all.length}</span>
    <button type="button" class="quiet" aria-label="Later version" disabled=${place === all.length - 1} onClick=${() => go(1)}><${Icon} name="right" /></button>
  </span>`;
}
