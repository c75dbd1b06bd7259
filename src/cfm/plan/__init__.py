"""What should be: policies propose, one kernel disposes.  Pure: values in, values out."""
