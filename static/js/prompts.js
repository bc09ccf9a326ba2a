// "/" at the start of the message box lists the saved prompts; what is typed after it narrows the list.
const SLASH = /^\/([^\n]{0,60})$/;
const prompts = () => document.getElementById("prompts");
const box = () => document.getElementById("text");
const shown = () => [...prompts().children].filter(option => !option.hidden);
const isOpen = () => Boolean(prompts()) && !prompts().hidden;
let markup = null;

const load = async () => {
  const answer = await fetch(prompts().dataset.from, { headers: { "HX-Request": "true" } });
  markup = answer.ok ? await answer.text() : "";
};
const mark = option => {
  for (const each of prompts().children) each.ariaSelected = String(each === option);
  if (option) box().setAttribute("aria-activedescendant", option.id);
  else box().removeAttribute("aria-activedescendant");
  option?.scrollIntoView({ block: "nearest" });
};
const close = () => {
  prompts().hidden = true;
  mark(null);
};
const narrow = typed => {
  for (const option of prompts().children) option.hidden = !option.textContent.toLowerCase().includes(typed.toLowerCase());
  prompts().hidden = !shown().length;
  mark(shown()[0] ?? null);
};
const insert = option => {
  close();
  box().value = option.dataset.text;
  box().dispatchEvent(new Event("input", { bubbles: true }));
  box().focus();
};

document.addEventListener("input", async event => {
  if (event.target.id !== "text" || !prompts()) return;
  if (!SLASH.test(box().value)) return isOpen() && close();
  // Offline there is no list, and "/" is an ordinary character.
  if (markup === null) await load().catch(() => {});
  if (!prompts().childElementCount) prompts().innerHTML = markup ?? "";
  const typed = box().value.match(SLASH);
  if (typed) narrow(typed[1].trim());
});

const STEPS = { ArrowDown: 1, ArrowUp: -1 };
document.addEventListener("keydown", event => {
  if (event.target.id !== "text" || !isOpen() || event.isComposing) return;
  const options = shown(), at = options.findIndex(option => option.ariaSelected === "true");
  if (event.key in STEPS) mark(options[(at + STEPS[event.key] + options.length) % options.length]);
  else if (event.key === "Escape") close();
  else if ((event.key === "Enter" || event.key === "Tab") && !event.shiftKey) insert(options[at]);
  else return;
  event.preventDefault();
  event.stopImmediatePropagation();
}, true);
// Keep the focus in the box while an option is pressed.
document.addEventListener("pointerdown", event => { if (event.target.closest("#prompts")) event.preventDefault(); });
document.addEventListener("click", event => {
  const option = event.target.closest("#prompts > li");
  if (option) insert(option);
  else if (isOpen()) close();
});
