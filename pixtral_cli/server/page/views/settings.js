// The settings: how answers are asked for and shown, and what is kept: export, import, deleted conversations.

import { useState } from "preact/hooks";
import * as conversations from "../chat/conversations.js";
import { served } from "../chat/served.js";
import * as settings from "../chat/settings.js";
import { exportAll, exportTranscript, importFile } from "../chat/transfer.js";
import { html } from "../dom.js";
import { Dialog } from "./dialogs.js";

export function Settings() {
  return html`<${Dialog} id="settings" title="Settings">
    <${Answers} />
    <${Looks} />
    <${Kept} />
  <//>`;
}

function Answers() {
  const conversation = conversations.current.value;
  const values = conversation.row.value.settings ?? settings.defaults.value;
  const change = (name, value) => {
    const next = { ...values, [name]: value };
    if (value === "" || value === null) delete next[name];
    conversation.row.value = { ...conversation.row.value, settings: next };
    settings.setDefaults(next);
    if (conversation.begun) conversation.keep({ settings: next });
  };
  const [refused, setRefused] = useState({});
  const figure = (name, range) => ({ target }) => {
    const { valid } = target.validity;
    setRefused({ ...refused, [name]: valid ? "" : range });
    if (valid) change(name, target.value === "" ? "" : Number(target.value));
  };
  const { models } = served.value;
  return html`<section aria-labelledby="settings-answers">
    <h3 id="settings-answers">Answers</h3>
    <p class="hint">For this conversation and the next ones. What is left empty is as the server has it.</p>
    <label>System prompt<textarea rows="3" value=${values.system ?? ""} placeholder="None" onInput=${({ target }) => change("system", target.value)}></textarea></label>
    <div class="fields">
      <label>Model<select value=${values.model ?? ""} onChange=${({ target }) => change("model", target.value)}>
        <option value="">${models[0]?.name ?? "The server's"}</option>
        ${models.slice(1).map(({ name }) => html`<option value=${name}>${name}</option>`)}
      </select></label>
      <label>Temperature<input type="number" min="0" max="10" step="any" placeholder="0 to 10" value=${values.temperature ?? ""} onInput=${figure("temperature", "The temperature is a number from 0 to 10.")} /></label>
      <label>Max tokens<input type="number" min="1" max="10000000" step="1" placeholder="No limit" value=${values.max_tokens ?? ""} onInput=${figure("max_tokens", "Max tokens is a whole number, 1 or more.")} /></label>
    </div>
    <p class="hint error" role="alert">${Object.values(refused).filter(Boolean).map((range) => `${range} What is there is not used. `)}</p>
  </section>`;
}

function Looks() {
  return html`<section aria-labelledby="settings-looks">
    <h3 id="settings-looks">Display</h3>
    <label class="check"><input type="checkbox" checked=${settings.asWritten.value} onChange=${({ target }) => settings.setAsWritten(target.checked)} />Show answers as written, without any rendering</label>
  </section>`;
}

function Kept() {
  const [said, say] = useState("");
  const conversation = conversations.current.value;
  const take = async ({ target }) => {
    try {
      const count = await importFile(target.files[0]);
      say(`${count} ${count === 1 ? "conversation is" : "conversations are"} here now.`);
    } catch (error) {
      say(error.message);
    }
    target.value = "";
  };
  return html`<section aria-labelledby="settings-kept">
    <h3 id="settings-kept">Conversations</h3>
    <div class="buttons">
      <button type="button" class="outlined" disabled=${!conversation.begun} onClick=${() => exportTranscript(conversation)}>Export this one as Markdown</button>
      <button type="button" class="outlined" disabled=${!conversation.begun} onClick=${() => exportAll([conversation.id], conversation.row.value.title)}>Export this one, all versions</button>
      <button type="button" class="outlined" onClick=${() => exportAll(conversations.listed.value.map(({ id }) => id))}>Export all</button>
      <label class="button outlined" for="import">Import</label>
      <input id="import" class="visually-hidden" type="file" accept="application/json,.json" onChange=${take} />
    </div>
    <p class="hint" role="status">${said}</p>
    <${Deleted} />
  </section>`;
}

function Deleted() {
  const all = conversations.deleted.value;
  if (!all.length) return null;
  return html`<details>
    <summary>Deleted in the last 30 days (${all.length})</summary>
    <ul class="deleted">
      ${all.map(
        ({ id, title }) => html`<li key=${id}>
          <span>${title || "Untitled"}</span>
          <button type="button" class="quiet" onClick=${() => conversations.setDeleted(id, false)}>Restore</button>
          <button type="button" class="quiet" onClick=${() => conversations.erase(id)}>Delete for good</button>
        </li>`,
      )}
    </ul>
  </details>`;
}
