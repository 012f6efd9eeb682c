// Sets the theme that was chosen in this browser before the page is drawn.
try {
  const chosen = localStorage.getItem("pixtral.theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
} catch {
  // no storage: the system's theme
}
