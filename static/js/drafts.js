// Keeps typed text until the server has accepted it: through a reload, an expired login and a failed send.
// Stored in this browser, per user and chat, and removed at sign-out.
const PREFIX = "draft:";
const box = () => document.getElementById("text");
const form = () => document.getElementById("composer");
const nameOf = composer => PREFIX + composer.dataset.draft;
const isMine = name => name.startsWith(PREFIX + form().dataset.draft.split(":")[0]);
const names = () => Object.keys(localStorage).filter(name => name.startsWith(PREFIX));

// If storage is full or forbidden, a draft lasts as long as its page.
const attempt = action => { try { return action(); } catch { return undefined; } };
const keep = () => attempt(() => {
  // With its key, so that a message the server accepted without our hearing of it isn't accepted twice.
  if (box().value) localStorage.setItem(nameOf(form()), JSON.stringify({ text: box().value, key: form().elements.key.value }));
  else localStorage.removeItem(nameOf(form()));
});
const fill = text => {
  box().value = text;
  box().dispatchEvent(new Event("input", { bubbles: true }));
};
const restore = () => {
  const kept = attempt(() => JSON.parse(localStorage.getItem(nameOf(form()))));
  if (!kept || box().value) return;
  form().elements.key.value = kept.key;
  fill(kept.text);
};

if (form()) {
  attempt(() => names().filter(name => !isMine(name)).forEach(name => localStorage.removeItem(name)));
  restore();
}
document.addEventListener("input", event => { if (event.target.id === "text") keep(); });
document.addEventListener("submit", event => {
  if (event.target.matches("[data-leaves]")) attempt(() => names().forEach(name => localStorage.removeItem(name)));
});

// Keeps the chosen model with the draft until something is sent with it.
const modelOf = composer => `${nameOf(composer)}:model`;
const restoreModel = () => {
  const select = form().elements.model, kept = attempt(() => localStorage.getItem(modelOf(form())));
  if (select && [...select.options].some(option => option.value === kept)) select.value = kept;
};
if (form()) restoreModel();
document.addEventListener("change", event => {
  if (event.target.matches("#composer [name=model]")) attempt(() => localStorage.setItem(modelOf(form()), event.target.value));
});
// A model chosen in an answer's menu becomes the chat's, so show it in the box.
document.addEventListener("click", ({ target }) => {
  const chosen = target.closest("[name=with_model]"), select = form()?.elements.model;
  if (chosen && select) select.value = chosen.value;
});
// Regenerate and edit send the model too; the server stores it with the chat.
document.addEventListener("htmx:after:request", ({ detail: { ctx } }) => {
  if (form() && ctx.response.status === 200 && ctx.request.body?.has?.("model") && ctx.target?.id === "log") attempt(() => localStorage.removeItem(modelOf(form())));
});

let sent = "", name = "", rest = null;
document.addEventListener("htmx:before:request", ({ detail: { ctx } }) => {
  if (ctx.sourceElement.id !== "composer") return;
  name = nameOf(form());
  sent = ctx.request.submitter?.name ? "" : ctx.request.body.get("text") ?? "";
});
document.addEventListener("htmx:after:request", ({ detail: { ctx } }) => {
  if (ctx.sourceElement.id !== "composer" || ctx.response.status !== 200) return;
  // The server accepted the message. Keep what was typed meanwhile.
  rest = box().value.startsWith(sent) ? box().value.slice(sent.length) : box().value;
  attempt(() => localStorage.removeItem(name));
  box().value = "";
});
// A new chat gets its own message box.
document.addEventListener("htmx:after:swap", () => {
  if (rest === null) return;
  fill(rest);
  rest = null;
});
