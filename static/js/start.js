// htmx starts by a timer, which a busy machine runs late. Links and forms work without it; what listens to typing does not.
for (const id of ["search", "draft"]) {
  const element = document.getElementById(id);
  if (element) htmx.process(element);
}
