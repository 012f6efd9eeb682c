"""Our own compute kernels. They know no model and no weights' file."""
