// Before anything is drawn: the theme that was chosen here.
const chosen = localStorage.getItem("pixtral.theme");
if (chosen) document.documentElement.dataset.theme = chosen;
