"""The medical data of the models, as files and their readers. Estimates, and not a medical device."""
