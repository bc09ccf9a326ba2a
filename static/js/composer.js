// The message box: Enter sends; it grows with its text and counts characters.
const box = () => document.getElementById("text");
const form = () => document.getElementById("composer");
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
// On-screen keyboards don't send these keys, so one of them means a hardware keyboard, even on a tablet.
const REAL_KEY = /^(Shift|Control|Alt|Meta|Tab|Escape|Arrow)/;
let hasRealKeys = false;
document.addEventListener("keydown", event => { hasRealKeys ||= Boolean(event.code) && REAL_KEY.test(event.key); }, true);
const hasKeyboard = () => hasRealKeys || !matchMedia("(pointer: coarse)").matches;

if (form()) {
  changed();
  if (hasKeyboard()) box().focus();
}

document.addEventListener("input", event => {
  if (event.target.id === "text") changed();
});

document.addEventListener("keydown", event => {
  if (event.target.id !== "text" || event.key !== "Enter" || event.shiftKey) return;
  // In an input method, Enter chooses a word; on a touch keyboard it is the only way to start a new line.
  if (event.isComposing || event.keyCode === 229 || !(hasKeyboard() || event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  if (event.target.value.trim() && !document.getElementById("stop")) form().requestSubmit();
});

// The Stop button disappears when the answer ends, and the focus with it.
document.addEventListener("click", event => { if (event.target.closest("#stop") && hasKeyboard()) box().focus(); });

// Send and Stop replace each other, so the second click of a double click would undo the first.
document.addEventListener("click", event => {
  if (event.detail < 2 || !event.target.closest("#action")) return;
  event.preventDefault();
  event.stopPropagation();
}, true);

// A new chat gets its own message box.
document.addEventListener("htmx:after:swap", ({ detail: { ctx } }) => {
  if (ctx.target?.id === "log" && document.activeElement === document.body && hasKeyboard()) box().focus();
});
