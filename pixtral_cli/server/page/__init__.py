"""The web page of `pixtral serve`: its files, and the routes that serve them."""
