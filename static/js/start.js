// The time zone of a new account: the days of its budget and the times on its pages.
for (const field of document.querySelectorAll("[data-zone]")) field.value = Intl.DateTimeFormat().resolvedOptions().timeZone;

// htmx starts by a timer, which a busy machine runs late. Links and forms work without it; what listens to typing does not.
for (const id of ["search", "draft"]) {
  const element = document.getElementById(id);
  if (element) htmx.process(element);
}

// Of a link's click with a key that opens it elsewhere htmx 4.0.1 makes nothing, and keeps it from the browser.
document.addEventListener("click", event => {
  if ((event.ctrlKey || event.metaKey || event.shiftKey) && event.target.closest("a[hx-get]")) event.stopPropagation();
}, true);
