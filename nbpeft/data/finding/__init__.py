"""Where rows are: variables, files, the hub; and several of these mixed."""
