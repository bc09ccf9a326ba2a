// Copies a message's source, a code block, or a secret that is shown once.
const DONE_MS = 1600;

const text = async button => {
  if (button.dataset.copyText) return button.dataset.copyText;
  const address = button.dataset.copy;
  // No line ends at the end: a terminal would run the pasted text.
  if (!address) return button.closest("figure").querySelector("code").textContent.replace(/\n+$/, "");
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(answer.status);
  return answer.text();
};
const write = async promise => {
  // Created during the click and filled later: some browsers forbid writing after a wait.
  if (navigator.clipboard && window.ClipboardItem)
    return navigator.clipboard.write([new ClipboardItem({ "text/plain": promise.then(t => new Blob([t], { type: "text/plain" })) })]);
  // Without HTTPS this is the only clipboard.
  const box = Object.assign(document.createElement("textarea"), { value: await promise, className: "unseen" });
  document.body.append(box);
  box.select();
  document.execCommand("copy");
  box.remove();
};

document.addEventListener("click", async event => {
  const button = event.target.closest("[data-copy], [data-copy-text]");
  if (!button) return;
  event.preventDefault();
  const texts = document.getElementById("toast").dataset;
  try {
    await write(text(button));
    document.getElementById("status").textContent = texts.copied;
    button.classList.add("copied");
    const use = button.querySelector("use"), sign = use?.getAttribute("href").replace("check", "copy");
    use?.setAttribute("href", sign.replace("copy", "check"));
    setTimeout(() => {
      button.classList.remove("copied");
      use?.setAttribute("href", sign);
    }, DONE_MS);
  } catch {
    document.dispatchEvent(new CustomEvent("say", { detail: texts.uncopied }));
  }
});
