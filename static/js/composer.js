// The message box: Enter sends, it grows with its text, and what is typed is kept until the server has taken it.
const box = () => document.getElementById("text");
const form = () => document.getElementById("composer");
const draftName = () => `draft:${form().dataset.chat}`;
const growsByItself = CSS.supports("field-sizing", "content");

const changed = () => {
  const text = box(), length = document.getElementById("length"), limit = Number(text.dataset.limit);
  if (!growsByItself) {
    text.style.height = "auto";
    text.style.height = `${text.scrollHeight}px`;
  }
  // Characters are code points, as the server counts them.
  const left = text.value.length > limit * 0.9 ? limit - [...text.value.trim()].length : limit;
  length.classList.toggle("over", left < 0);
  length.textContent = left < limit * 0.1 ? length.dataset[left < 0 ? "over" : "left"].replace("{n}", Math.abs(left)) : "";
};
const keep = () => {
  // Storage may be full or forbidden: then a draft lives as long as its page.
  try {
    if (box().value) localStorage.setItem(draftName(), box().value);
    else localStorage.removeItem(draftName());
  } catch {}
};
const restore = () => {
  try { box().value ||= localStorage.getItem(draftName()) ?? ""; } catch {}
  changed();
};

const hasKeyboard = () => !matchMedia("(pointer: coarse)").matches;

if (form()) {
  restore();
  if (hasKeyboard()) box().focus();
}

document.addEventListener("input", event => {
  if (event.target.id !== "text") return;
  changed();
  keep();
});

document.addEventListener("keydown", event => {
  if (event.target.id !== "text" || event.key !== "Enter" || event.shiftKey) return;
  // While an input method composes, Enter chooses a word; on a touch keyboard it is the only way to a new line.
  if (event.isComposing || event.keyCode === 229 || !hasKeyboard()) return;
  event.preventDefault();
  if (event.target.value.trim() && !document.getElementById("stop")) form().requestSubmit();
});

let sent = "";
document.addEventListener("htmx:before:request", ({ detail: { ctx } }) => {
  if (ctx.sourceElement.id === "composer") sent = ctx.request.submitter?.name ? "" : ctx.request.body.get("text") ?? "";
});
document.addEventListener("htmx:after:request", ({ detail: { ctx } }) => {
  if (ctx.sourceElement.id !== "composer" || ctx.response.status !== 200) return;
  // The server took the message. What was typed meanwhile stays.
  const text = box();
  const rest = text.value.startsWith(sent) ? text.value.slice(sent.length) : text.value;
  text.value = "";
  keep();
  text.value = rest;
  keep();
  changed();
});
// A new chat gets a message box of its own.
document.addEventListener("htmx:after:swap", ({ detail: { ctx } }) => {
  if (ctx.sourceElement?.id !== "composer") return;
  changed();
  if (hasKeyboard()) box().focus();
});
