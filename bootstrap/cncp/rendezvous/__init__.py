"""How machines that come by themselves find their cluster: sealed documents, where they lie, who follows them."""
