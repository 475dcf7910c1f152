"""What the models know of medicine, as data files and their readers. Estimates, and not a medical device."""
