// The whole page.

import { useEffect, useRef } from "preact/hooks";
import { askAgain, keyWanted } from "../chat/answers.js";
import { setKey } from "../api.js";
import { current } from "../chat/conversations.js";
import { meet, served } from "../chat/served.js";
import { html, Icon, number } from "../dom.js";
import { Composer } from "./composer.js";
import { dialog, Zoom } from "./dialogs.js";
import { dragged } from "./drop.js";
import { Preview } from "./panel.js";
import { Settings } from "./settings.js";
import { Shortcuts } from "./shortcuts.js";
import { shown, Sidebar, toggle } from "./sidebar.js";
import { say, Trouble } from "./status.js";
import { Talk } from "./talk.js";

export function App() {
  return html`<a class="skip" href="#question" onClick=${(event) => (event.preventDefault(), document.getElementById("question").focus())}>Skip to the question</a>
    <${Sidebar} />
    <main>
      <${Header} />
      <${Trouble} />
      ${keyWanted.value && html`<${KeyForm} />`}
      <${Talk} />
      <${Composer} />
    </main>
    <${Preview} />
    ${dialog.value === "settings" && html`<${Settings} />`}
    ${dialog.value === "shortcuts" && html`<${Shortcuts} />`}
    ${dialog.value?.url && html`<${Zoom} picture=${dialog.value} />`}
    <div id="drop" hidden=${!dragged.value}>Drop pictures to add them</div>`;
}

function Header() {
  const { name } = served.value;
  return html`<header>
    <button id="menu" class="quiet icon" type="button" aria-label="Conversations" aria-expanded=${String(shown.value)} aria-controls="sidebar" onClick=${() => toggle(!shown.value)}><${Icon} name="menu" /></button>
    <h1 id="model">${name}</h1>
    ${name === "demo" && html`<span class="badge">demo model</span>`}
    <${Budget} />
    <button id="theme" class="quiet icon" type="button" aria-label="Dark or light" title="Dark or light" onClick=${changeTheme}><${Icon} name="theme" /></button>
  </header>`;
}

/** How much of the context window the branch that is shown takes. */
function Budget() {
  const { window: size, loading } = served.value;
  const { path, views } = current.value;
  const usage = path.value.map((id) => views.get(id).value.usage).findLast(Boolean);
  if (loading) return html`<span id="budget">The model is being loaded…</span>`;
  if (!size) return html`<span id="budget"></span>`;
  const whole = `${number(size)} tokens`;
  if (!usage) return html`<span id="budget">${whole}</span>`;
  const used = number(usage.total_tokens);
  return html`<span id="budget" title=${`${used} of ${whole}`}>${used}<span class="whole"> of ${whole}</span></span>`;
}

function KeyForm() {
  const input = useRef(null);
  useEffect(() => input.current.focus(), []);
  const enter = async (event) => {
    event.preventDefault();
    setKey(input.current.value.trim());
    const error = await meet();
    say(error?.message ?? "");
    if (error) input.current?.select();
    else askAgain();
  };
  return html`<form id="key-form" onSubmit=${enter}>
    <label for="key">This server needs an API key</label>
    <input id="key" ref=${input} type="password" autocomplete="off" required />
    <button type="submit">Continue</button>
  </form>`;
}

function changeTheme() {
  const root = document.documentElement.dataset;
  const dark = root.theme ? root.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.theme = dark ? "light" : "dark";
  try {
    localStorage.setItem("pixtral.theme", root.theme);
  } catch {
    // it holds until the page is closed
  }
}
