// What every widget's script begins with (nbpeft.widgets.script joins the files).

/** An element with its properties and children; texts among them stay text. */
function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}
