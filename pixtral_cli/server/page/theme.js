// Before anything is drawn: the theme that was chosen here.
try {
  const chosen = localStorage.getItem("pixtral.theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
} catch {
  // no storage: the system's theme
}
