// Where the messages scroll: the end is followed until somebody scrolls up, by however little.

import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { current } from "../chat/conversations.js";
import * as draft from "../chat/draft.js";
import { isDemo } from "../chat/served.js";
import { html, Icon } from "../dom.js";
import { Messages } from "./messages.js";

const NEAR = 120; // pixels from the end within which there is no button to it
const IDEAS = ["What is in this picture?", "Transcribe all the text.", "Turn this chart into a table.", "Write HTML to create a website like this."];

const away = signal(false); // the end is out of sight
let following = true;
let top = 0;

const talk = () => document.getElementById("talk");
const toEnd = (place) => place.scrollHeight - place.scrollTop - place.clientHeight;

/** Scroll to the end, and follow it. */
export function toTheEnd() {
  following = true;
  settle();
}

function settle() {
  const place = talk();
  if (!place) return;
  if (following) place.scrollTop = place.scrollHeight;
  top = place.scrollTop;
  away.value = toEnd(place) > NEAR;
}

function scrolled({ target }) {
  if (toEnd(target) < 2) following = true;
  else if (target.scrollTop < top) following = false;
  top = target.scrollTop;
  away.value = toEnd(target) > NEAR;
}

export function Talk() {
  const content = useRef(null);
  const conversation = current.value;
  useEffect(() => {
    const sizes = new ResizeObserver(settle);
    sizes.observe(content.current);
    sizes.observe(talk());
    return () => sizes.disconnect();
  }, []);
  useEffect(toTheEnd, [conversation]);
  return html`<section id="talk" aria-label="Conversation" tabindex="0" onScroll=${scrolled}>
    <div ref=${content}>
      ${!conversation.path.value.length && html`<${Welcome} />`}
      <${Messages} />
    </div>
  </section>`;
}

export function DownButton() {
  return html`<button id="down" class="outlined" type="button" aria-label="To the end" title="To the end" hidden=${!away.value} onClick=${toTheEnd}><${Icon} name="down" /></button>`;
}

function suggest({ target }) {
  draft.text.value = target.textContent;
  draft.changed();
  document.getElementById("question").focus();
  if (!draft.pictures.value.length) document.getElementById("files").click();
}

function Welcome() {
  return html`<div id="welcome">
    <h2>Ask about a picture</h2>
    <p>Drop one here, paste it, or pick it below. It goes to this server and nowhere else.</p>
    ${isDemo() &&
    html`<p id="demo" role="note">
      <strong>This is the demo:</strong> a very small model that knows simple shapes, charts, sketches and printed words. Photographs and
      real questions need a larger one: <code>pixtral doctor</code>, on the server's machine, says which fits
    </p>`}
    <ul id="ideas" aria-label="Ideas">
      ${IDEAS.map((idea) => html`<li><button class="outlined" type="button" onClick=${suggest}>${idea}</button></li>`)}
    </ul>
  </div>`;
}
