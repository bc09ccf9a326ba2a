// Keeps what the reader is looking at in place while something is unfolded, replaced or inserted above it.
const log = document.getElementById("log");
let anchor = null;

const topOf = element => element.getBoundingClientRect().top;
const byId = element => ({ find: () => document.getElementById(element.id), at: topOf(element) });
const stay = place => log.dispatchEvent(new CustomEvent("stay", { detail: place }));
const stays = ctx => ctx.sourceElement?.closest?.("[data-stay]");

function keepSummary({ target }) {
  const summary = target.closest("summary");
  if (summary) stay({ find: () => summary, at: topOf(summary) });
}
function followSent({ detail: { ctx } }) {
  if (ctx.target === log && !stays(ctx)) log.dispatchEvent(new Event("follow"));
}
function remember({ detail: { ctx } }) {
  if (ctx.reader) anchor = byId(ctx.reader);
  // For another version of a message, hold the button that was pressed.
  else if (ctx.target === log && stays(ctx)) anchor = { ...byId(ctx.sourceElement), button: true };
  else if (ctx.target?.matches?.(".earlier")) {
    // For earlier messages, hold the first one that was already shown.
    const first = ctx.target.nextElementSibling;
    if (first) anchor = { find: () => first, at: topOf(first) };
  }
}
function putBack() {
  if (!anchor) return;
  const { find, at, button } = anchor, element = find();
  anchor = null;
  stay({ find, at });
  if (button && element) (element.disabled ? element.form.querySelector("button:enabled") : element)?.focus({ preventScroll: true });
}

if (log) {
  log.addEventListener("click", keepSummary);
  document.addEventListener("htmx:before:request", followSent);
  document.addEventListener("htmx:before:swap", remember);
  document.addEventListener("htmx:after:swap", putBack);
}
