// An answer's stream: what to do when its connection fails, and cleaning up at its end.
const FIRST_PAUSE_MS = 1000, LONGEST_PAUSE_MS = 30000;
const line = document.getElementById("connection");
let pause = FIRST_PAUSE_MS;

const show = (text, canReload) => {
  if (!line) return;
  line.querySelector("span").textContent = text;
  line.querySelector("a").hidden = !canReload;
  line.hidden = false;
};
const connected = () => { pause = FIRST_PAUSE_MS; if (line) line.hidden = true; };

addEventListener("offline", () => show(line?.dataset.offline, false));
addEventListener("online", connected);
document.addEventListener("htmx:sse:after:connection", connected);
document.addEventListener("htmx:sse:before:message", connected);
document.addEventListener("htmx:sse:error", () => show(line?.dataset.lost, false));
document.addEventListener("htmx:sse:close", ({ target, detail }) => {
  target.removeAttribute?.("aria-busy");
  target.removeAttribute?.("hx-sse:connect");
  // Refused, or signed out elsewhere: the last frame, which ends the answer, never came.
  if (detail.reason === "message" && target.querySelector("[data-open]")) show(line?.dataset.ended, true);
});

// htmx reconnects when a connection breaks, but not when the first one fails.
const again = ({ detail: { ctx } }) => {
  const answer = ctx?.sourceElement;
  if (!answer?.hasAttribute?.("hx-sse:connect")) return;
  show(line?.dataset.lost, false);
  setTimeout(() => answer.isConnected && htmx.process(answer, true), pause);
  pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
};
document.addEventListener("htmx:response:error", again);
document.addEventListener("htmx:error", again);
