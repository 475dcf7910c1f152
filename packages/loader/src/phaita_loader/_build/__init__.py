"""Files become a model on its device; nothing here touches the network."""
